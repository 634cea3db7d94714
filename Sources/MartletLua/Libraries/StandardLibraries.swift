//  cjson, cmsgpack and struct: which runtime has them, and how their functions end.
//
//  They are host functions with negative numbers, which `LuaRuntime` hands to this type.
//
//  Raw memory: bytes of arguments belong to Lua and stand until the function returns; they are read
//  through `ByteCursor` or copied whole.

import CLuaShim

/// Why a function of a library raises an error.
struct LibraryError: Error {
    let message: String

    init(_ message: String) {
        self.message = message
    }

    /// Lua's words for an argument that is not right; `index` counts from 1.
    static func argument(_ index: Int, of function: String, _ problem: String) -> LibraryError {
        LibraryError("bad argument #\(index) to '\(function)' (\(problem))")
    }
}

/// The libraries of one runtime with their settings, which are forgotten at each script's start:
/// in Redis one user's script changes them for all.
struct StandardLibraries {
    /// Lua tables deeper than this are not walked, whatever the settings say: the machine's stack
    /// and Lua's are limited.
    static let depthMax = 1000

    var json = JSONSettings()
    /// Where strings are put together; kept between calls.
    var output: [UInt8] = []

    enum Function: Int, CaseIterable {
        case jsonEncode = -1
        case jsonDecode = -2
        case jsonEncodeMaxDepth = -3
        case jsonDecodeMaxDepth = -4
        case jsonEncodeInvalidNumbers = -5
        case jsonDecodeInvalidNumbers = -6
        case jsonEncodeNumberPrecision = -7
        case jsonEncodeSparseArray = -8
        case jsonEncodeKeepBuffer = -9
        case structPack = -20
        case structUnpack = -21
        case structSize = -22
        case messagePack = -30
        case messageUnpack = -31
        case messageUnpackOne = -32
        case messageUnpackLimit = -33
    }

    /// What the prelude is told.
    static let descriptions: [LuaLibrary] = {
        var json = LuaLibrary("cjson")
        json.add(library: "encode", .jsonEncode)
        json.add(library: "decode", .jsonDecode)
        json.add(library: "encode_max_depth", .jsonEncodeMaxDepth)
        json.add(library: "decode_max_depth", .jsonDecodeMaxDepth)
        json.add(library: "encode_invalid_numbers", .jsonEncodeInvalidNumbers)
        json.add(library: "decode_invalid_numbers", .jsonDecodeInvalidNumbers)
        json.add(library: "encode_number_precision", .jsonEncodeNumberPrecision)
        json.add(library: "encode_sparse_array", .jsonEncodeSparseArray)
        json.add(library: "encode_keep_buffer", .jsonEncodeKeepBuffer)
        json.add("_NAME", string: "cjson")
        json.add("_VERSION", string: "2.1.0")
        var structure = LuaLibrary("struct")
        structure.add(library: "pack", .structPack)
        structure.add(library: "unpack", .structUnpack)
        structure.add(library: "size", .structSize)
        var message = LuaLibrary("cmsgpack")
        message.add(library: "pack", .messagePack)
        message.add(library: "unpack", .messageUnpack)
        message.add(library: "unpack_one", .messageUnpackOne)
        message.add(library: "unpack_limit", .messageUnpackLimit)
        message.add("_NAME", string: "cmsgpack")
        message.add("_VERSION", string: "lua-cmsgpack 0.4.0")
        message.add("_COPYRIGHT", string: "Copyright (C) 2012, Salvatore Sanfilippo")
        message.add("_DESCRIPTION", string: "MessagePack C implementation for Lua")
        return [json, structure, message]
    }()

    /// Forgets the settings of the script before.
    mutating func reset() {
        json = JSONSettings()
        if output.capacity > 1 << 16 { output = [] }
    }

    /// Runs the function of that number.
    mutating func call(_ number: Int, _ call: LuaCall, _ runtime: LuaRuntime) -> LuaCallStatus {
        guard let function = Function(rawValue: number) else { return .exhausted }
        output.removeAll(keepingCapacity: true)
        do {
            try run(function, call, runtime)
            return .returns
        } catch {
            call.results.discard()
            call.results.string(call.arguments.errorPosition() + error.message)
            return .raises
        }
    }

    private mutating func run(
        _ function: Function, _ call: LuaCall, _ runtime: LuaRuntime
    ) throws(LibraryError) {
        switch function {
        case .jsonEncode:
            guard call.argumentCount == 1 else {
                throw .argument(1, of: "encode", "expected 1 argument")
            }
            var encoder = JSONEncoder(
                settings: json, reader: call.arguments, output: output, runtime: runtime)
            output = []
            try encoder.encode(valueAt: 1, depth: 0)
            output = encoder.output
            call.results.bytes(output)
        case .jsonDecode:
            guard call.argumentCount == 1 else {
                throw .argument(1, of: "decode", "expected 1 argument")
            }
            let text = try unsafe call.text(at: 1, of: "decode")
            var decoder = unsafe JSONDecoder(
                settings: json, text: text, writer: call.results, runtime: runtime)
            try decoder.decode()
        case .jsonEncodeMaxDepth, .jsonDecodeMaxDepth, .jsonEncodeInvalidNumbers,
            .jsonDecodeInvalidNumbers, .jsonEncodeNumberPrecision, .jsonEncodeSparseArray,
            .jsonEncodeKeepBuffer:
            try json.configure(function, call)
        case .structPack:
            try StructureFormat.pack(call, into: &output, runtime)
            call.results.bytes(output)
        case .structUnpack:
            try StructureFormat.unpack(call, runtime)
        case .structSize:
            try StructureFormat.size(call)
        case .messagePack:
            guard call.argumentCount > 0 else {
                throw .argument(0, of: "pack", "MessagePack pack needs input.")
            }
            var packer = MessagePacker(reader: call.arguments, output: output, runtime: runtime)
            output = []
            for index in 0..<call.argumentCount { try packer.pack(valueAt: index + 1, level: 0) }
            output = packer.output
            call.results.bytes(output)
        case .messageUnpack, .messageUnpackOne, .messageUnpackLimit:
            try MessageUnpacker.unpack(function, call, runtime)
        }
    }
}

extension LuaLibrary {
    fileprivate mutating func add(library name: String, _ function: StandardLibraries.Function) {
        add(function: name, function.rawValue)
    }
}

extension LuaCall {
    /// Lua's name for the type of an argument.
    func typeName(at index: Int) -> String {
        switch arguments.type(at: index) {
        case .none: "no value"
        case .null: "nil"
        case .boolean: "boolean"
        case .number: "number"
        case .bytes: "string"
        case .table: "table"
        case .function: "function"
        case .thread: "thread"
        case .lightUserdata, .userdata: "userdata"
        }
    }

    /// The bytes of a string argument. A number stands for its digits, as everywhere in Lua.
    func text(at index: Int, of function: String) throws(LibraryError) -> UnsafeRawBufferPointer {
        if let bytes = unsafe arguments.text(at: index) { return unsafe bytes }
        throw .argument(index, of: function, "string expected, got \(typeName(at: index))")
    }

    /// The first argument as the name of an option.
    func option() throws(LibraryError) -> String {
        let text = try unsafe text(at: 1, of: "?")
        return unsafe String(decoding: text, as: UTF8.self)
    }

    /// A number argument, or a string that spells one.
    func number(at index: Int, of function: String) throws(LibraryError) -> Double {
        if let number = arguments.numeric(at: index) { return number }
        throw .argument(index, of: function, "number expected, got \(typeName(at: index))")
    }
}

extension Double {
    /// The integer that the processor's conversion gives: what does not fit is the least one.
    var truncatedInteger: Int64 {
        self >= -0x1p63 && self < 0x1p63 ? Int64(self) : .min
    }
}

extension [UInt8] {
    /// Appends a number's digits, at most `precision` of them significant.
    mutating func append(digitsOf number: Double, precision: Int) {
        unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 48) { buffer in
            guard let start = buffer.baseAddress else { return }
            let count = unsafe martlet_lua_format_precise(number, Int32(precision), start)
            for index in 0..<Swift.min(Int(count), buffer.count) {
                unsafe append(UInt8(bitPattern: buffer[index]))
            }
        }
    }
}
