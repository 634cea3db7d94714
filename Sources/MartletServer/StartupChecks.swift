//  What a careful operator would look at before the server takes its first connection.
//
//  Each check returns a warning or nothing. What it looks at arrives as a parameter, so that tests
//  can show it a machine of their own.

import Glibc

/// The facts about machine and container that the checks weigh.
package struct HostFacts: Sendable {
    package var isRoot = false
    /// The kernel's bound on waiting connections, or nil when it does not tell.
    package var backlogMax: Int?
    /// What the container may use at most, or nil when it is not limited.
    package var containerBytesMax: Int?
    package var machineBytes = 0
    package var isDirectoryWorldWritable = false

    package init() {}

    /// The limit that binds: the container's, or else the machine's memory.
    package var memoryBytes: Int { min(containerBytesMax ?? .max, machineBytes) }

    /// Looks at the machine this process runs on.
    package static func current(directory: String) -> HostFacts {
        var facts = HostFacts()
        facts.isRoot = geteuid() == 0
        facts.backlogMax = number(inFile: "/proc/sys/net/core/somaxconn")
        facts.machineBytes = sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE))
        facts.containerBytesMax = containerLimit()
        var status = stat()
        if unsafe stat(directory, &status) == 0 {
            // A sticky directory like /tmp keeps others from removing our files, but not from
            // putting theirs in their place before we do.
            facts.isDirectoryWorldWritable = status.st_mode & S_IWOTH != 0
        }
        return facts
    }

    private static func number(inFile path: String) -> Int? {
        guard let bytes = try? SystemFile.read(path, bytesMax: 4096) else { return nil }
        return Int(String(decoding: bytes.prefix { $0 > 0x20 }, as: UTF8.self))
    }

    /// The limit of our own control group, or of one above it: the smallest counts.
    private static func containerLimit() -> Int? {
        guard let bytes = try? SystemFile.read("/proc/self/cgroup", bytesMax: 65536) else {
            return nil
        }
        var limits: [Int] = []
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
            let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard parts.count == 3,
                parts[1].isEmpty || parts[1].split(separator: ",").contains("memory")
            else { continue }
            let isSecondVersion = parts[1].isEmpty
            let root = isSecondVersion ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory"
            let file = isSecondVersion ? "memory.max" : "memory.limit_in_bytes"
            var group = String(parts[2])
            while true {
                if let limit = number(inFile: "\(root)\(group == "/" ? "" : group)/\(file)") {
                    limits.append(limit)
                }
                guard group != "/", !group.isEmpty else { break }
                group = SystemFile.parent(of: group)
            }
        }
        // The first version says "unlimited" with a number no machine has.
        return limits.filter { $0 < 1 << 60 }.min()
    }
}

/// What is said at the start about a machine that serves badly.
package enum StartupChecks {
    /// What to warn of before serving.
    package static func warnings(_ settings: Settings, _ facts: HostFacts) -> [String] {
        var warnings: [String] = []
        if facts.isRoot {
            warnings.append(
                "WARNING: running as root. A service user of its own keeps a break-in small.")
        }
        if let max = facts.backlogMax, settings.tcpBacklog > max {
            warnings.append(
                "WARNING: The TCP backlog setting of \(settings.tcpBacklog) cannot be enforced "
                    + "because /proc/sys/net/core/somaxconn is set to the lower value of \(max).")
        }
        let bytesMax = settings.memoryBytesMax(systemBytes: facts.memoryBytes)
        if let limit = facts.containerBytesMax, limit < facts.machineBytes,
            bytesMax == 0 || bytesMax > limit
        {
            let now = bytesMax == 0 ? "no maxmemory is set" : "maxmemory is \(bytesMax)"
            warnings.append(
                "WARNING: this container may use \(limit) bytes of memory, but \(now): the kernel "
                    + "will kill the server when it grows beyond. Set maxmemory below the limit.")
        }
        if facts.isDirectoryWorldWritable {
            warnings.append(
                "WARNING: the directory '\(LogLine.escaped(settings.directory))' is writable by "
                    + "everybody. Choose one of the server's own with 'dir'.")
        }
        return warnings
    }

    /// Descriptors that the server needs besides one for each client: files, epoll, listeners.
    package static let reservedDescriptors = 32

    /// Raises the limit on open files to what `clients` clients need, as far as the system allows.
    ///
    /// - Returns: for how many clients there is room, and a warning when that is fewer.
    package static func makeRoom(forClients clients: Int) -> (clients: Int, warning: String?) {
        var limit = rlimit()
        guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
            return (clients, nil)
        }
        let needed = UInt(clients + reservedDescriptors)
        if limit.rlim_cur < needed {
            var wanted = limit
            wanted.rlim_cur = min(needed, limit.rlim_max)
            if needed > limit.rlim_max {
                // Only a privileged process may raise the hard limit; to try costs nothing.
                var raised = rlimit(rlim_cur: needed, rlim_max: needed)
                let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
                if unsafe setrlimit(resource, &raised) == 0 { return (clients, nil) }
            }
            if unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &wanted) == 0 {
                limit = wanted
            }
        }
        guard limit.rlim_cur < needed else { return (clients, nil) }
        let room = max(Int(limit.rlim_cur) - reservedDescriptors, 1)
        return (
            room,
            "WARNING: maxclients has been reduced to \(room), since at most \(limit.rlim_cur) "
                + "files may be open and \(needed) are needed. Raise 'ulimit -n' for more."
        )
    }
}
