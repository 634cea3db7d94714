//  Function libraries as records: of a file, and of FUNCTION DUMP's payload.
//
//         0  245
//         1  a string: the text of a library
//         …  more of them
//         …  in a payload: version and checksum, as behind a value's (see `RDBPayload`)

import MartletBase
import MartletEngine

extension RDBOutput {
    /// A library's record.
    mutating func append(library text: ByteView) {
        append(RDBOpcode.function.rawValue)
        append(opaque: text)
    }
}

extension RDBPayload {
    /// Why a payload of libraries is none, in Redis' words.
    package struct LibraryError: Error {
        package let text: StaticString
    }

    /// What servers of Redis 7.0 and later understand.
    private static let libraryVersion = 10

    /// Writes the payload of libraries to an output without a sink, lent until it is changed.
    package static func write(libraries texts: [Bytes], to output: inout RDBOutput) -> ByteView {
        output.removeAll()
        for text in texts { text.withView { output.append(library: $0) } }
        output.append(UInt8(libraryVersion))
        output.append(0)
        output.append64(CRC64.checksum(output.buffer.view))
        return output.buffer.view
    }

    /// The texts of the libraries in a payload.
    ///
    /// - Throws: what is wrong with it.
    package static func libraries(in payload: ByteView) throws(LibraryError) -> [Bytes] {
        guard version(of: payload) != nil else {
            throw LibraryError(text: "DUMP payload version or checksum are wrong")
        }
        var input = RDBInput(payload.slice(0, payload.count - footerBytes), hasChecksum: false)
        var room = ByteBuffer()
        var texts: [Bytes] = []
        while !input.isAtEnd {
            guard let first = try? input.byte() else {
                throw LibraryError(text: "can not read data type")
            }
            if first == RDBOpcode.functionOfCandidate.rawValue {
                throw LibraryError(text: "Pre-GA function format not supported")
            }
            if first != RDBOpcode.function.rawValue {
                throw LibraryError(text: "given type is not a function")
            }
            do throws(RDBError) {
                texts.append(Bytes(try input.string(&room)))
            } catch {
                throw LibraryError(text: "Failed loading library payload")
            }
        }
        return texts
    }
}
