//  The error of a system call, with what a reader of the log needs: which call, on what, why.

import Glibc

/// A system call failed while a socket was set up.
package struct SocketError: Error, CustomStringConvertible {
    /// The call that failed, as the manual names it: `bind`, `listen`.
    package let call: String

    /// What it was applied to: an address with its port, or a path.
    package let subject: String

    /// The error number the system gave.
    package let code: Int32

    package init(call: String, subject: String, code: Int32) {
        self.call = call
        self.subject = subject
        self.code = code
    }

    /// The system's words for `code`.
    package var reason: String {
        var text = [CChar](repeating: 0, count: 128)
        guard unsafe strerror_r(code, &text, text.count) == 0 else { return "error \(code)" }
        return String(
            decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    package var description: String { "\(subject): \(call): \(reason)" }
}
