//  Which Redis a client may take us for.

/// The newest Redis whose core commands are all there, for HELLO, INFO's redis_version and scripts: none
/// yet. What is there behaves as Redis 8.
package enum RedisCompatibility {
    package static let version: StaticString = "0.0.0"
    /// The same as one number: `REDIS_VERSION_NUM`, a byte for each part.
    package static let number = 0
}
