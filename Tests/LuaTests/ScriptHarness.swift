//  A runtime with a small host, and results as text: what every test here runs scripts with.

import MartletLua

/// A sandbox whose scripts can call `host.echo`, `host.sum`, `host.fail` and `host.wait`.
final class ScriptHarness: LuaHost {
    /// How often `host.wait` asks to be run again.
    var waits = 0
    private(set) var runtime: LuaRuntime?
    private(set) var slices = 0
    private(set) var keys: LuaName?

    /// Builds the sandbox.
    init(
        memoryBytes: Int = 64 << 20, slice: Duration = .milliseconds(1),
        budget: Duration = .seconds(5)
    ) throws {
        var library = LuaLibrary("host", aliases: ["guest"])
        library.add(function: "echo", 0)
        library.add(function: "sum", 1)
        library.add(function: "fail", 2)
        library.add(function: "wait", 3, suspends: true)
        library.add(function: "tree", 4)
        library.add("VERSION", string: "7.4")
        library.add("LEVEL", number: 3)
        var loading = LuaLibrary("host", aliases: ["guest"], isForLoading: true)
        loading.add(function: "sum", 1)
        let limits = LuaLimits(memoryBytes: memoryBytes, slice: slice, budget: budget)
        runtime = try LuaRuntime(limits: limits, libraries: [library, loading], host: self)
        keys = try runtime?.intern("KEYS")
    }

    func call(_ function: Int, _ call: LuaCall) -> LuaCallStatus {
        switch function {
        case 0:
            for index in 1...max(1, call.argumentCount) {
                unsafe call.results.bytes(
                    call.arguments.bytes(at: index) ?? .init(start: nil, count: 0))
            }
        case 1:
            var sum = 0.0
            for index in 0..<call.argumentCount { sum += call.arguments.number(at: index + 1) }
            call.results.number(sum)
        case 2:
            call.results.record(1)
            call.results.string("err")
            let position = call.arguments.position()
            call.results.string("MYERR at \(position?.source ?? "nowhere"):\(position?.line ?? 0)")
            return .raises
        case 3:
            if waits > 0 {
                waits -= 1
                return .suspends
            }
            if call.arguments.type(at: 1) == .table {
                let line = call.arguments.position()?.line ?? 0
                call.results.string("after waiting in line \(line)")
                return .raises
            }
            call.results.number(call.arguments.number(at: 1) * 2)
        default:
            let outer = call.results.openArray()
            call.results.array(2)
            call.results.string("x")
            call.results.boolean(true)
            call.results.record(1)
            call.results.string("k")
            call.results.array(0)
            call.results.closeArray(outer, count: 2)
        }
        return .returns
    }

    /// Runs to the end; the results as text, tables as {...}.
    func run(_ text: String, keys keyNames: [String] = []) throws -> [String] {
        let (outcome, values) = try finish(text, keys: keyNames)
        if outcome != .finished { throw Ended(outcome: outcome, message: values.last ?? "") }
        return values
    }

    /// A script that did not return.
    struct Ended: Error, Equatable {
        let outcome: LuaOutcome
        let message: String
    }

    /// Runs until the script has ended, however it does.
    func finish(_ text: String, keys keyNames: [String] = []) throws -> (LuaOutcome, [String]) {
        guard let runtime, let keys else { return (.failed, []) }
        let script = try runtime.compile(Array(text.utf8), name: "user_script")
        defer { runtime.release(script) }
        guard runtime.begin(script) else { return (.failed, ["no memory to begin"]) }
        runtime.arguments.array(keyNames.count)
        for name in keyNames { runtime.arguments.string(name) }
        runtime.arguments.assign(to: keys)
        slices = 1
        var outcome = runtime.resume()
        while outcome == .sliceOver || outcome == .suspended {
            slices += 1
            outcome = runtime.resume()
        }
        let reader = runtime.results
        var values: [String] = []
        if outcome == .finished {
            for index in 0..<reader.count { values.append(Self.text(reader, index + 1)) }
        } else if outcome == .failed {
            values.append(Self.text(reader, 1))
        }
        runtime.end()
        return (outcome, values)
    }

    private static func text(_ reader: LuaReader, _ index: Int) -> String {
        switch reader.type(at: index) {
        case .null, .none: return "nil"
        case .boolean: return reader.boolean(at: index) ? "true" : "false"
        case .number:
            let number = reader.number(at: index)
            return number == number.rounded() && abs(number) < 1e15
                ? "\(Int(number))" : "\(number)"
        case .bytes: return String(decoding: reader.copiedBytes(at: index) ?? [], as: UTF8.self)
        case .table:
            var parts: [String] = []
            guard reader.reserve(8) else { return "{...}" }
            reader.pushNil()
            while reader.pushNext(ofTableAt: index) {
                let top = reader.count
                let key = text(reader, top - 1)
                let value = text(reader, top)
                parts.append("\(key)=\(value)")
                reader.pop()
            }
            return "{" + parts.sorted().joined(separator: " ") + "}"
        default: return "\(reader.type(at: index))"
        }
    }
}
