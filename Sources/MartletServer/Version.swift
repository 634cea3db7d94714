//  Which Martlet this is.

/// The version, and how it is told.
package enum Version {
    package static let text = "0.1.0"

    /// The answer to `martlet --version`, in the form of `redis-server --version`.
    package static let line = "Martlet server v=\(text) bits=\(Int.bitWidth)"
}
