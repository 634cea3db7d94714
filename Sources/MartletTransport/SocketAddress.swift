//  A socket address of any family, as the system fills it in.
//
//  Raw memory: the address is lent to system calls for their length, never longer than the
//  storage.

import CSystem
import Glibc

/// Room for an address of any family, with what the transport wants to know of it.
@safe
struct SocketAddress {
    private var storage = sockaddr_storage()
    private var length = socklen_t(MemoryLayout<sockaddr_storage>.size)

    init() {}

    /// Lends the address to a system call that writes it.
    ///
    /// - Returns: what the call returned.
    mutating func fill(
        _ call: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
    ) -> Int32 {
        length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        return unsafe withUnsafeMutablePointer(to: &storage) { storage in
            unsafe storage.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                unsafe call(address, &length)
            }
        }
    }

    /// Copies an address that a lookup gave.
    init(copying address: UnsafePointer<sockaddr>, length: socklen_t) {
        self.length = min(length, socklen_t(MemoryLayout<sockaddr_storage>.size))
        unsafe withUnsafeMutableBytes(of: &storage) { bytes in
            if let base = bytes.baseAddress {
                unsafe memcpy(base, address, Int(self.length))
            }
        }
    }

    /// The address of a Unix socket, or nil when `path` is empty or too long for one.
    init?(path: String) {
        var address = sockaddr_un()
        let bytes = [UInt8](path.utf8)
        // One byte stays zero: the path ends there.
        guard !bytes.isEmpty, bytes.count < MemoryLayout.size(ofValue: address.sun_path),
            !bytes.contains(0)
        else { return nil }
        address.sun_family = sa_family_t(AF_UNIX)
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { room in
            unsafe room.copyBytes(from: bytes)
        }
        unsafe withUnsafeMutableBytes(of: &storage) { room in
            unsafe withUnsafeBytes(of: &address) { unsafe room.copyMemory(from: $0) }
        }
        length = socklen_t(MemoryLayout<sockaddr_un>.size)
    }

    /// Lends the address to a system call that reads it.
    func pass(_ call: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        unsafe withUnsafePointer(to: storage) { storage in
            unsafe storage.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                unsafe call(address, length)
            }
        }
    }

    var family: Int32 { Int32(storage.ss_family) }

    /// Whether the peer with this address is on this machine.
    var isLoopback: Bool {
        switch family {
        case AF_UNIX:
            return true
        case AF_INET:
            return bytes(at: 4, count: 1) == [127]
        case AF_INET6:
            let address = bytes(at: 8, count: 16)
            let zeros = [UInt8](repeating: 0, count: 10)
            if address == zeros + [0, 0, 0, 0, 0, 1] { return true }
            // An IPv4 peer of a socket that serves both.
            return address.prefix(13) == zeros + [255, 255, 127]
        default:
            return false
        }
    }

    /// The port; 0 where there is none.
    var port: UInt16 {
        guard family == AF_INET || family == AF_INET6 else { return 0 }
        let digits = bytes(at: 2, count: 2)
        return UInt16(digits[0]) << 8 | UInt16(digits[1])
    }

    /// `127.0.0.1:6379`, `[::1]:6379`, or `/path/of/socket:0`.
    var text: String {
        switch family {
        case AF_INET:
            return "\(numeric(at: 4)):\(port)"
        case AF_INET6:
            return "[\(numeric(at: 8))]:\(port)"
        case AF_UNIX:
            let path = bytes(at: 2, count: max(0, Int(length) - 2)).prefix { $0 != 0 }
            return String(decoding: path, as: UTF8.self) + ":0"
        default:
            return "?:0"
        }
    }

    /// The raw bytes at `offset`: family, then port, then address in network order.
    private func bytes(at offset: Int, count: Int) -> [UInt8] {
        unsafe withUnsafeBytes(of: storage) { all in
            unsafe [UInt8](all[min(offset, all.count)..<min(offset + count, all.count)])
        }
    }

    private func numeric(at offset: Int) -> String {
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        let written = unsafe withUnsafeBytes(of: storage) { all in
            guard let base = all.baseAddress else { return false }
            return unsafe inet_ntop(family, base + offset, &text, socklen_t(text.count)) != nil
        }
        guard written else { return "?" }
        return String(
            decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
