//  Values on both sides of the door: reading those that Lua lends, writing those that it gets.
//
//  Raw memory: bytes of a Lua string belong to Lua and stand as long as the value they were read
//  from stays where it is: arguments until the host function returns, results until
//  `LuaRuntime.end()`. Written values are copied into the runtime's buffer at once.

import CLuaShim

/// What a Lua value is, as far as the host may read it.
package enum LuaType: Int32, Sendable {
    case none = -1
    case null = 0
    case boolean = 1
    case lightUserdata = 2
    case number = 3
    case bytes = 4
    case table = 5
    case function = 6
    case userdata = 7
    case thread = 8
}

/// A byte string that Lua keeps for good, to name fields and globals without allocation.
package struct LuaName: Sendable, Equatable {
    let reference: Int32
}

/// A function of Lua that the host keeps: a compiled script, or one that a script handed over.
package struct LuaFunction: Sendable, Hashable {
    let reference: Int32
}

/// Values that Lua lends: the arguments of a host function, or what a script returned or raised.
///
/// An index counts from 1; a negative one from the top, -1 being the last value. Nothing here
/// calls into scripts or allocates: metatables are not asked.
@safe package struct LuaReader {
    let runtime: UnsafeMutablePointer<martlet_lua>

    init(_ runtime: UnsafeMutablePointer<martlet_lua>) {
        unsafe self.runtime = runtime
    }

    /// How many values there are.
    package var count: Int { unsafe Int(martlet_lua_count(runtime)) }

    /// The type of the value, `.none` beyond the last.
    package func type(at index: Int) -> LuaType {
        unsafe LuaType(rawValue: martlet_lua_type_at(runtime, Int32(truncatingIfNeeded: index)))
            ?? .userdata
    }

    /// False for false and nil, true for all else.
    package func boolean(at index: Int) -> Bool {
        unsafe martlet_lua_boolean_at(runtime, Int32(truncatingIfNeeded: index))
    }

    /// The number, or the number that a string spells; 0 for all else.
    package func number(at index: Int) -> Double {
        unsafe martlet_lua_number_at(runtime, Int32(truncatingIfNeeded: index))
    }

    /// The bytes of a string; nil for all else, numbers included.
    package func bytes(at index: Int) -> UnsafeRawBufferPointer? {
        var count = 0
        guard
            let start = unsafe martlet_lua_bytes_at(
                runtime, Int32(truncatingIfNeeded: index), &count)
        else { return nil }
        return unsafe UnsafeRawBufferPointer(start: start, count: count)
    }

    /// The number, or the number that a string spells; nil for all else.
    package func numeric(at index: Int) -> Double? {
        let place = Int32(truncatingIfNeeded: index)
        guard unsafe martlet_lua_is_number_at(runtime, place) else { return nil }
        return unsafe martlet_lua_number_at(runtime, place)
    }

    /// The bytes of a string or the digits of a number; nil for all else. A zero follows the bytes,
    /// and digits stand until the next call.
    package func text(at index: Int) -> UnsafeRawBufferPointer? {
        var count = 0
        guard
            let start = unsafe martlet_lua_text_at(
                runtime, Int32(truncatingIfNeeded: index), &count)
        else { return nil }
        return unsafe UnsafeRawBufferPointer(start: start, count: count)
    }

    /// "name:line: " of the script's line that called the running function, "" when none did.
    func errorPosition() -> String {
        unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 96) { buffer in
            guard let start = buffer.baseAddress else { return "" }
            unsafe martlet_lua_error_position(runtime, start, buffer.count)
            return unsafe String(cString: start)
        }
    }

    /// The bytes of a string as an array of their own; nil for all else.
    package func copiedBytes(at index: Int) -> [UInt8]? {
        guard let bytes = unsafe bytes(at: index) else { return nil }
        return unsafe [UInt8](bytes)
    }

    /// Length of a string, or of a table's sequence; 0 for all else.
    package func length(at index: Int) -> Int {
        unsafe martlet_lua_length_at(runtime, Int32(truncatingIfNeeded: index))
    }

    /// Whether the value is the light userdata that stands for null (`cjson.null`).
    package func isNull(at index: Int) -> Bool {
        unsafe martlet_lua_is_null_at(runtime, Int32(truncatingIfNeeded: index))
    }

    /// Makes room for `slots` more values on the stack. 48 are there when a host function starts
    /// or a script has ended; a walk through nested tables reserves what each level pushes.
    ///
    /// - Returns: false when the stack may not grow so far.
    package func reserve(_ slots: Int) -> Bool {
        unsafe martlet_lua_reserve(runtime, Int32(clamping: slots))
    }

    /// Pushes element `position` (from 1) of the table at `index`; nil when there is none.
    package func pushElement(_ position: Int, ofTableAt index: Int) {
        unsafe martlet_lua_push_element(
            runtime, Int32(truncatingIfNeeded: index), Int32(truncatingIfNeeded: position))
    }

    /// Pushes the field `name` of the table at `index`; nil when there is none.
    package func pushField(_ name: LuaName, ofTableAt index: Int) {
        unsafe martlet_lua_push_field(runtime, Int32(truncatingIfNeeded: index), name.reference)
    }

    /// Starts a walk through a table: pushes the nil that `pushNext` begins with.
    package func pushNil() {
        unsafe martlet_lua_push_nil(runtime)
    }

    /// Replaces the key on top by the next key and its value, or takes it away at the end.
    ///
    /// - Precondition: the top is what `pushNil` or the last `pushNext` pushed as key, the value
    ///   having been popped; `index` is positive.
    package func pushNext(ofTableAt index: Int) -> Bool {
        unsafe martlet_lua_push_next(runtime, Int32(truncatingIfNeeded: index))
    }

    /// Takes away the last `count` values.
    package func pop(_ count: Int = 1) {
        unsafe martlet_lua_pop(runtime, Int32(truncatingIfNeeded: count))
    }

    /// Line of the innermost frame of a script and the name of its source; nil outside of one.
    package func position() -> (source: String, line: Int)? {
        unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { buffer in
            guard let start = buffer.baseAddress else { return nil }
            let line = unsafe martlet_lua_position(runtime, start, buffer.count)
            guard line > 0 else { return nil }
            return unsafe (String(cString: start), Int(line))
        }
    }
}

/// Writes values for Lua: results of a host function, the error it raises, arguments of a script.
///
/// Bytes are copied; Lua makes its values of them when the host function has returned. What does
/// not fit within the runtime's memory becomes Lua's "not enough memory" error by itself.
@safe package struct LuaWriter {
    let values: UnsafeMutablePointer<martlet_lua_values>

    init(_ runtime: UnsafeMutablePointer<martlet_lua>) {
        unsafe values = martlet_lua_values_of(runtime)
    }

    /// Writes nil.
    package func null() {
        unsafe martlet_lua_put_tag(values, UInt8(martlet_lua_tag_nil.rawValue))
    }

    /// Writes true or false.
    package func boolean(_ value: Bool) {
        let tag = value ? martlet_lua_tag_true : martlet_lua_tag_false
        unsafe martlet_lua_put_tag(values, UInt8(tag.rawValue))
    }

    /// Writes a number.
    package func number(_ value: Double) {
        unsafe martlet_lua_put_number(values, value)
    }

    /// Writes a string of these bytes.
    package func bytes(_ bytes: UnsafeRawBufferPointer) {
        unsafe martlet_lua_put_bytes(values, bytes.baseAddress, bytes.count)
    }

    /// Writes a string of these bytes.
    package func bytes(_ bytes: [UInt8]) {
        unsafe bytes.withUnsafeBytes { unsafe self.bytes($0) }
    }

    /// Writes a string of this text.
    package func string(_ text: StaticString) {
        unsafe martlet_lua_put_bytes(values, text.utf8Start, text.utf8CodeUnitCount)
    }

    /// Writes a string of this text.
    package func string(_ text: String) {
        var text = text
        text.withUTF8 { unsafe bytes(UnsafeRawBufferPointer($0)) }
    }

    /// Writes an interned name as a string.
    package func name(_ name: LuaName) {
        unsafe _ = martlet_lua_put_counted(
            values, UInt8(martlet_lua_tag_reference.rawValue), UInt32(bitPattern: name.reference))
    }

    /// Writes a function.
    package func function(_ function: LuaFunction) {
        unsafe _ = martlet_lua_put_counted(
            values, UInt8(martlet_lua_tag_reference.rawValue),
            UInt32(bitPattern: function.reference))
    }

    /// Writes the light userdata that stands for null (`cjson.null`).
    package func userdataNull() {
        unsafe martlet_lua_put_tag(values, UInt8(martlet_lua_tag_userdata_null.rawValue))
    }

    /// Begins a table of `count` elements, which are the next `count` values written.
    package func array(_ count: Int) {
        _ = openArray(count)
    }

    /// Begins a table of `count` fields: the next values are key, value, key, value ...
    package func record(_ count: Int) {
        _ = openRecord(count)
    }

    /// Where a table began whose count is not known yet.
    package struct Opening {
        let position: Int
    }

    /// Begins an array whose count `closeArray` will say.
    package func openArray(_ count: Int = 0) -> Opening {
        unsafe Opening(
            position: martlet_lua_put_counted(
                values, UInt8(martlet_lua_tag_array.rawValue), UInt32(clamping: count)))
    }

    /// Begins a table of fields whose count `closeRecord` will say.
    package func openRecord(_ count: Int = 0) -> Opening {
        unsafe Opening(
            position: martlet_lua_put_counted(
                values, UInt8(martlet_lua_tag_record.rawValue), UInt32(clamping: count)))
    }

    /// Says how many elements were written since `opening`.
    package func closeArray(_ opening: Opening, count: Int) {
        unsafe martlet_lua_patch(
            values, opening.position, UInt8(martlet_lua_tag_array.rawValue),
            UInt32(clamping: count))
    }

    /// Says how many fields (pairs of key and value) were written since `opening`.
    package func closeRecord(_ opening: Opening, count: Int) {
        unsafe martlet_lua_patch(
            values, opening.position, UInt8(martlet_lua_tag_record.rawValue),
            UInt32(clamping: count))
    }

    /// Writes a number that `closeNumber` will replace.
    func openNumber() -> Opening {
        number(0)
        return unsafe Opening(position: values.pointee.count)
    }

    /// Replaces the number written by `openNumber`.
    func closeNumber(_ opening: Opening, _ value: Double) {
        unsafe martlet_lua_patch_number(values, opening.position, value)
    }

    /// Takes back the number that was written last.
    func takeBackNumber() {
        unsafe martlet_lua_take_back_number(values)
    }

    /// Makes the whole value just written the global `name` (KEYS, ARGV) of the scripts.
    ///
    /// - Precondition: the value stands at the outermost level; only before `LuaRuntime.resume`.
    package func assign(to name: LuaName) {
        unsafe _ = martlet_lua_put_counted(
            values, UInt8(martlet_lua_tag_global.rawValue), UInt32(bitPattern: name.reference))
    }

    /// Forgets what has been written so far: for a function that finds an error on its way.
    package func discard() {
        unsafe values.pointee.count = 0
        unsafe values.pointee.overflowed = false
    }
}
