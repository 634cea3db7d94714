//  What the configuration says of files: the append-only log and snapshots.

import MartletPersistence

/// The directives of the log and of snapshots, with types.
package struct DurabilitySettings: Sendable, Equatable {
    /// `appendonly`
    package let keepsLog: Bool
    /// `appendfsync`
    package let policy: LogWriter.Policy
    package let logDirectory: String
    package let logFile: String
    package let logHasChecksums: Bool
    package let logHasTimestamps: Bool
    /// `aof-use-rdb-preamble`: bases of the log are snapshots, not commands.
    package let basesAreSnapshots: Bool
    /// `aof-load-truncated`
    package let acceptsTornTail: Bool
    /// `auto-aof-rewrite-percentage`; 0 for never.
    package let rewriteGrowthPercent: Int
    package let rewriteBytesMin: Int

    /// `dbfilename`
    package let snapshotFile: String
    package let savePoints: [SavePoint]
    /// `rdbcompression`
    package let compresses: Bool
    /// `rdbchecksum`
    package let hasChecksum: Bool
    /// `stop-writes-on-bgsave-error`
    package let stopsWritesOnFailedSave: Bool
}
