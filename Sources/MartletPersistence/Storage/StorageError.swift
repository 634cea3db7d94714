//  What went wrong with a durable file: which call, on what, where, and why.

import Glibc

/// A failure of the disk, or of what stands on it.
package enum StorageError: Error, Equatable {
    /// A system call failed: its name, the file, and the number that the system gave for the reason.
    case system(call: StaticName, path: String, code: Int32)
    /// A file holds what it must not, at `offset`.
    case damaged(path: String, offset: Int, reason: String)

    /// The name of a call, comparable.
    package struct StaticName: Equatable, ExpressibleByStringLiteral, Sendable {
        package let text: String
        package init(stringLiteral text: String) { self.text = text }
    }
}

extension StorageError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .system(let call, let path, let code):
            "\(call.text) of \(path) failed: \(unsafe String(cString: strerror(code)))"
        case .damaged(let path, let offset, let reason):
            "\(path) is damaged at offset \(offset): \(reason)"
        }
    }
}
