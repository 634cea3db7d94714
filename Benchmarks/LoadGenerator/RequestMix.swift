//  The requests of one worker, ready to be copied and patched: the inner loop of the generator.
//
//  Raw memory: `images` holds the bytes of every template one after the other, `shapes` says where
//  each lies, `fields` which digits change. The mix owns all three and frees them; one thread uses
//  it. `put` and `patch` write inside the bytes the caller made room for, `longest` per operation.

import Glibc

/// A command text and how often it is drawn, relative to the others.
package struct WeightedCommand: Sendable, Equatable {
    package let text: String
    package let weight: Int

    package init(_ text: String, weight: Int = 1) {
        self.text = text
        self.weight = weight
    }

    /// Reads `9:GET key:{key}`; without a weight it is 1.
    ///
    /// - Throws: `.usage` when the weight is 0 or not a number below a million.
    package init(parsing argument: String) throws(BenchmarkError) {
        let digits = argument.prefix { $0.isASCII && $0.isNumber }
        guard !digits.isEmpty, argument.dropFirst(digits.count).first == ":" else {
            self.init(argument)
            return
        }
        guard let weight = Int(digits), (1..<1_000_000).contains(weight) else {
            throw .usage("the weight in '\(argument)' must be between 1 and 999999")
        }
        self.init(String(argument.dropFirst(digits.count + 1)), weight: weight)
    }
}

/// Templates with weights, and the state their fields draw from.
///
/// - Invariant: every template has `commandCount` commands, so a count of replies is a count of
///   operations.
@safe
package struct RequestMix: ~Copyable {
    private struct Shape {
        var offset: Int
        var length: Int
        var firstField: Int
        var endField: Int
        /// Drawn when 32 random bits are below this; ascending, the last is 2^32.
        var threshold: UInt64
    }

    private struct Field {
        var source: RequestTemplate.Field.Source
        /// Whether only the last eight digits ever change, and so are all that is written.
        var isShort: Bool
        var offset: Int
        var width: Int
        var base: UInt64
        var range: UInt64

        init(_ field: RequestTemplate.Field, keyCount: UInt64) {
            source = field.source
            offset = field.offset
            width = field.width
            base = field.base
            range = field.range
            let end: UInt64 =
                switch field.source {
                case .key, .sameKey: keyCount
                case .random: field.base + field.range
                // It only grows: once past eight digits, it is written whole for good.
                case .sequence: field.base
                case .sameRandom: .max
                }
            isShort = field.width >= 8 && end <= 100_000_000
        }
    }

    private let images: UnsafeMutableRawPointer
    private let shapes: UnsafeMutablePointer<Shape>
    private let fields: UnsafeMutablePointer<Field>
    package let templateCount: Int
    /// The length of the longest operation in bytes.
    package let longest: Int
    /// Whether all operations have the same length.
    package let isUniform: Bool
    package let commandCount: Int

    private var random: RandomBits
    private var keys: KeyChooser
    private var sequence: UInt64
    private let sequenceStep: UInt64

    /// - Parameters:
    ///   - commands: at least one, each with the same number of commands in it.
    ///   - valueBytes: the size of {value}.
    ///   - keys: draws the keys.
    ///   - seed: of everything random.
    ///   - first: the number of this worker's first operation.
    ///   - step: how far operation numbers of one worker lie apart: the number of workers.
    /// - Throws: `.usage` when a text is wrong or the number of commands differs.
    package init(
        _ commands: [WeightedCommand], valueBytes: Int, keys: consuming KeyChooser, seed: UInt64,
        first: Int = 0, step: Int = 1
    ) throws(BenchmarkError) {
        var templates: [RequestTemplate] = []
        for command in commands {
            templates.append(try RequestTemplate(command.text, valueBytes: valueBytes))
        }
        guard let head = templates.first else { throw .usage("there is no command to send") }
        for template in templates where template.commandCount != head.commandCount {
            throw .usage("all operations of a mix must have the same number of commands")
        }
        let totalWeight = commands.reduce(0) { $0 + $1.weight }
        let byteCount = templates.reduce(0) { $0 + $1.bytes.count }
        let fieldCount = templates.reduce(0) { $0 + $1.fields.count }

        unsafe images = .allocate(byteCount: byteCount, alignment: 64)
        unsafe shapes = .allocate(capacity: templates.count)
        unsafe fields = .allocate(capacity: max(1, fieldCount))
        var byteEnd = 0
        var fieldEnd = 0
        var weightEnd = 0
        for (index, template) in templates.enumerated() {
            weightEnd += commands[index].weight
            unsafe (shapes + index).initialize(
                to: Shape(
                    offset: byteEnd, length: template.bytes.count, firstField: fieldEnd,
                    endField: fieldEnd + template.fields.count,
                    threshold: UInt64(weightEnd) * 0x1_0000_0000 / UInt64(totalWeight)))
            for byte in template.bytes {
                unsafe (images + byteEnd).storeBytes(of: byte, as: UInt8.self)
                byteEnd += 1
            }
            for field in template.fields {
                unsafe (fields + fieldEnd).initialize(
                    to: Field(field, keyCount: keys.keyCount))
                fieldEnd += 1
            }
        }
        templateCount = templates.count
        longest = templates.map(\.bytes.count).max() ?? 0
        isUniform = templates.allSatisfy { $0.bytes.count == head.bytes.count }
        commandCount = head.commandCount
        random = RandomBits(seed: seed)
        self.keys = keys
        sequence = UInt64(first)
        sequenceStep = UInt64(step)
    }

    deinit {
        unsafe images.deallocate()
        unsafe shapes.deallocate()
        unsafe fields.deallocate()
    }

    /// Writes the next operation at `target` and returns its length.
    ///
    /// - Precondition: `longest` bytes are writable at `target`.
    @inline(__always)
    package mutating func put(at target: UnsafeMutableRawPointer) -> Int {
        var drawn = 0
        if templateCount > 1 {
            let lot = random.next() &>> 32
            while unsafe shapes[drawn].threshold <= lot { drawn &+= 1 }
        }
        let shape = unsafe shapes[drawn]
        unsafe memcpy(target, images + shape.offset, shape.length)
        unsafe fill(shape, at: target)
        return shape.length
    }

    /// Writes the bytes of the first template at `target`, its numbers 0.
    ///
    /// - Precondition: `longest` bytes are writable at `target`.
    package func putImage(at target: UnsafeMutableRawPointer) {
        unsafe memcpy(target, images, shapes[0].length)
    }

    /// Turns the copy of the only template at `target` into the next operation.
    ///
    /// - Precondition: `templateCount == 1`, and `putImage` or `put` wrote at `target` before.
    @inline(__always)
    package mutating func patch(at target: UnsafeMutableRawPointer) {
        unsafe fill(shapes[0], at: target)
    }

    @inline(__always)
    private mutating func fill(_ shape: Shape, at target: UnsafeMutableRawPointer) {
        var key: UInt64 = 0
        var drawn: UInt64 = 0
        var index = shape.firstField
        while index < shape.endField {
            let field = unsafe fields[index]
            let number: UInt64
            switch field.source {
            case .key:
                key = keys.next(&random)
                number = key
            case .sameKey: number = key
            case .sequence: number = field.base &+ sequence
            case .random:
                drawn = field.base &+ random.below(field.range)
                number = drawn
            case .sameRandom: number = field.base &+ drawn
            }
            if field.isShort && number < 100_000_000 {
                unsafe (target + field.offset + (field.width &- 8)).storeBytes(
                    of: eightDigits(number), as: UInt64.self)
            } else {
                unsafe putDigits(number, width: field.width, at: target + field.offset)
            }
            index &+= 1
        }
        sequence &+= sequenceStep
    }
}

/// Writes the last `width` decimal digits of `number` at `target`.
private func putDigits(_ number: UInt64, width: Int, at target: UnsafeMutableRawPointer) {
    var left = number
    var at = width
    while at > 0 {
        at &-= 1
        let tenth = left / 10
        unsafe (target + at).storeBytes(
            of: UInt8(truncatingIfNeeded: 48 &+ left &- tenth &* 10), as: UInt8.self)
        left = tenth
    }
}

/// The eight decimal digits of a number below 10^8 as text, in the order of memory.
///
/// Divides four, then two, then one digit apart in the lanes of one word; the divisions by 100 and
/// 10 are multiplications by rounded reciprocals, exact in these ranges.
@inline(__always)
private func eightDigits(_ number: UInt64) -> UInt64 {
    let four = number / 10000
    let lanes4 = four | ((number &- four &* 10000) &<< 32)
    let two = ((lanes4 &* 10486) &>> 20) & 0x0000_007F_0000_007F
    let lanes2 = two | ((lanes4 &- two &* 100) &<< 16)
    let one = ((lanes2 &* 103) &>> 10) & 0x000F_000F_000F_000F
    let lanes1 = one | ((lanes2 &- one &* 10) &<< 8)
    return (lanes1 &+ 0x3030_3030_3030_3030).littleEndian
}
