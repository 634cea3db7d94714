//  What the server's memory is made of: INFO's memory section, MEMORY STATS and DOCTOR, `maxmemory`.
//
//  Keys are counted exactly, by the shards themselves; buffers of clients by the loops. The rest is
//  what the process had allocated when it began to serve.

import CSystem
import Glibc
import MartletEngine
import MartletTransport

/// Bytes by what they are used for.
struct MemoryReport {
    /// All that the server has asked for; `maxmemory` bounds it, but for what waits for the log.
    let usedBytes: Int
    let peakBytes: Int
    let peakUnixSeconds: Int64
    /// Before the first client.
    let startupBytes: Int
    /// Sessions and buffers of clients.
    let clientBytes: Int
    /// Texts of scripts and libraries; what the interpreters hold is not counted, as in Redis.
    let scriptBytes: Int
    /// What waits for the append-only log; `maxmemory` does not count it.
    let logBytes: Int
    let keyspace: KeyspaceReport
    /// Pages that the process has in memory.
    let residentBytes: Int
    /// Handed out by the allocators, and held by them.
    let allocatedBytes: Int
    let heldBytes: Int

    /// What is not the data themselves.
    var overheadBytes: Int {
        startupBytes + clientBytes + scriptBytes + logBytes + keyspace.tableBytes
            + keyspace.trackingBytes
    }

    /// Keys and values.
    var datasetBytes: Int { max(0, usedBytes - overheadBytes) }

    /// The part of what was used since the start that is data, in percent.
    var datasetPercent: Double {
        let net = usedBytes - startupBytes
        return net <= 0 ? 0 : Double(datasetBytes) * 100 / Double(net)
    }

    var peakPercent: Double { ratio(usedBytes, peakBytes) * 100 }

    var fragmentation: Double { ratio(residentBytes, usedBytes) }

    func ratio(_ part: Int, _ whole: Int) -> Double {
        whole == 0 ? 0 : Double(part) / Double(whole)
    }
}

extension ServerContext {
    /// A session with its record and its place in the registries, without buffers.
    private static let sessionBytes = 1024

    /// All memory asked for: `used_memory`.
    func usedBytes(_ report: KeyspaceReport) -> Int {
        bytesOutsideKeyspace + state.log.pendingBytes + report.usedBytes
    }

    /// Of it, what is not in the keyspace.
    var bytesOutsideKeyspace: Int {
        startupBytes + clientBytes + state.scripts.report.textBytes
    }

    private var clientBytes: Int {
        state.clients.count * Self.sessionBytes + clientMemory.usedBytes(self)
    }

    /// What the memory is made of now.
    ///
    /// - Parameter isHeld: the caller holds all shards; else it holds none.
    /// - Returns: all of it, each number taken at about the same time.
    func memoryReport(isHeld: Bool) -> MemoryReport {
        let report = keyspaceReport(isHeld: isHeld)
        let used = usedBytes(report)
        let peak = cron.peak(
            usedBytes: used, nowMilliseconds: state.clock.wallMilliseconds())
        let malloc = martlet_malloc_use()
        // Segments of tables have pages of their own; wheels and large values come from malloc.
        let tables = report.databases.reduce(0) { $0 + $1.tableBytes }
        return MemoryReport(
            usedBytes: used, peakBytes: peak.bytes, peakUnixSeconds: peak.unixSeconds,
            startupBytes: startupBytes, clientBytes: clientBytes,
            scriptBytes: state.scripts.report.textBytes, logBytes: state.log.pendingBytes,
            keyspace: report,
            residentBytes: Self.residentBytes() ?? used,
            allocatedBytes: malloc.used + tables + report.slabBytes - report.slackBytes,
            heldBytes: malloc.held + tables + report.slabBytes + SparedMemory.emptySlabBytes)
    }

    /// Remembers what is allocated now as the server's own: called once, before the first client.
    func measureStartup() {
        startupBytes = martlet_malloc_use().used
        startupResidentBytes = Self.residentBytes() ?? 0
    }

    /// Pages of this process in memory, in bytes, or nil where the system does not tell.
    ///
    /// Asked ten times a second: without a heap allocation.
    static func residentBytes() -> Int? {
        let descriptor = unsafe open("/proc/self/statm", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        // Numbers of pages: of the address space, and in memory.
        var text = InlineArray<128, UInt8>(repeating: 0)
        let count = unsafe withUnsafeMutableBytes(of: &text) {
            unsafe Glibc.read(descriptor, $0.baseAddress, $0.count)
        }
        var pages = 0
        var field = 0
        for index in 0..<max(0, count) where field < 2 {
            let digit = Int(text[index]) - 0x30
            if digit < 0 {
                field += 1
            } else if field == 1 {
                pages = pages &* 10 &+ digit
            }
        }
        return pages == 0 ? nil : pages * sysconf(Int32(_SC_PAGESIZE))
    }
}
