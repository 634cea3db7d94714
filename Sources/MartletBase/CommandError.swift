//  What can be wrong with a command: thrown by whoever reads its arguments or resolves its keys.
//
//  The texts that clients see are rendered in the engine's ErrorReply, once.

/// The client asked wrongly. Nothing was changed.
package enum CommandError: Error {
    case wrongType
    case syntax
    case notInteger
    case notFloat
    case noSuchKey
    case outOfRange
    case overflow
    case stringTooLong
    case outOfMemory
    case sameObject
    case invalidCursor
    case databaseOutOfRange
    /// `ERR` and this text.
    case invalid(StaticString)
    /// This text, its code included.
    case coded(StaticString)
    /// The text stands in the call's `errorDetail`, its code included.
    case detailed
}
