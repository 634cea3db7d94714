//  EX, PX, EXAT, PXAT, KEEPTTL and PERSIST, as many commands take them.

import MartletBase

/// A deadline option as it was read.
struct ExpiryOption {
    enum Kind: Equatable {
        case seconds
        case milliseconds
        case unixSeconds
        case unixMilliseconds
        /// KEEPTTL or PERSIST, which take no value.
        case bare
    }

    let kind: Kind
    private let value: ByteView

    /// Reads one of EX, PX, EXAT and PXAT with its value, if it stands next.
    init?(reading arguments: inout Arguments) throws(CommandError) {
        if arguments.skip("ex") {
            kind = .seconds
        } else if arguments.skip("px") {
            kind = .milliseconds
        } else if arguments.skip("exat") {
            kind = .unixSeconds
        } else if arguments.skip("pxat") {
            kind = .unixMilliseconds
        } else {
            return nil
        }
        value = try arguments.next()
    }

    /// A deadline given by position, as SETEX has it.
    init(_ kind: Kind, _ value: ByteView) {
        self.kind = kind
        self.value = value
    }

    /// The deadline in wall clock milliseconds.
    ///
    /// - Throws: `.notInteger`, or the error of an invalid expire time: zero, negative, or more
    ///   milliseconds than 64 bits hold.
    func deadline(_ call: inout Call) throws(CommandError) -> Int64 {
        guard let time = value.parseInteger() else { throw .notInteger }
        let isInSeconds = kind == .seconds || kind == .unixSeconds
        let isRelative = kind == .seconds || kind == .milliseconds
        let (scaled, isTooBig) = time.multipliedReportingOverflow(by: isInSeconds ? 1000 : 1)
        let (deadline, isTooLate) = scaled.addingReportingOverflow(
            isRelative ? call.keyspace.nowMilliseconds : 0)
        if time <= 0 || isTooBig || isTooLate {
            throw call.error("ERR invalid expire time in '\(call.command.fullName)' command")
        }
        return deadline
    }
}
