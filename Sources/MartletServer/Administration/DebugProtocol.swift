//  DEBUG PROTOCOL: a reply of each type, for the tests of client libraries.

import MartletBase
import MartletEngine

/// A reply of the type that a client asks for.
enum DebugProtocol {
    static func reply(_ call: inout Call) throws(CommandError) {
        let type = try call.arguments.next().string.lowercased()
        switch type {
        case "string": call.reply.bulk("Hello World")
        case "integer": call.reply.integer(12345)
        case "double": call.reply.double(3.141)
        case "bignum": call.reply.bigNumber(ByteView("1234567999999999999999999999999999999"))
        case "null": call.reply.null()
        case "array":
            call.reply.array(3)
            for number in 0..<3 { call.reply.integer(number) }
        case "set":
            call.reply.set(3)
            for number in 0..<3 { call.reply.integer(number) }
        case "map":
            call.reply.map(3)
            for number in 0..<3 {
                call.reply.integer(number)
                call.reply.boolean(number == 1)
            }
        case "attrib": attributes(&call)
        case "push": try push(&call)
        case "verbatim": call.reply.verbatim("This is a verbatim\nstring")
        case "true": call.reply.boolean(true)
        case "false": call.reply.boolean(false)
        default:
            throw .invalid(
                """
                Wrong protocol type name. Please use one of the following: \
                string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false
                """)
        }
    }

    private static func attributes(_ call: inout Call) {
        if call.reply.isRESP3 {
            call.reply.attribute(1)
            call.reply.bulk("key-popularity")
            call.reply.array(2)
            call.reply.bulk("key:123")
            call.reply.integer(90)
        }
        call.reply.bulk("Some real reply following the attribute")
    }

    private static func push(_ call: inout Call) throws(CommandError) {
        guard call.reply.isRESP3 else {
            throw .invalid("RESP2 is not supported by this command")
        }
        call.reply.push(2)
        call.reply.bulk("server-cpu-usage")
        call.reply.integer(42)
        // A push is no answer: a client that waits for one gets it behind.
        call.reply.bulk("Some real reply following the push reply")
    }
}
