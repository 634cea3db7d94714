//  What INFO tells of the log and of snapshots.

import MartletPersistence

/// Figures of finished and running work. Times are Unix seconds unless they say otherwise.
struct DurabilityStatus {
    // Snapshots.
    var lastSaveUnixSeconds: Int64 = 0
    var lastSaveSucceeded = true
    /// Seconds the last one took, and when one was last tried; -1 and 0 for none.
    var lastSaveSeconds: Int64 = -1
    var lastTryUnixSeconds: Int64 = 0
    var saveCount = 0
    /// The count of changes at the point in time of the last snapshot.
    var changesSaved: UInt64 = 0

    // Rewrites of the log.
    var lastRewriteSucceeded = true
    var lastRewriteSeconds: Int64 = -1
    var rewriteCount = 0
    var failedRewrites = 0

    // Loading.
    var loadingTotalBytes = 0
    var loadingLoadedBytes = 0
    var loadingBeganSeconds: Int64 = 0
    var keysLoaded = 0
    var keysExpired = 0
}
