//  The large list against an array: the same random steps, invariants after them.

import MartletBase
import Testing

@testable import MartletEngine

extension ListElement {
    /// The bytes that a client sees.
    fileprivate var plain: [UInt8] {
        switch self {
        case .bytes(let bytes): bytes.bytes
        case .integer(let integer): Array(String(integer).utf8)
        }
    }
}

private func contents(_ list: borrowing List, reversed: Bool = false) -> [[UInt8]] {
    var found: [[UInt8]] = []
    if list.count > 0 {
        list.walk(from: reversed ? list.count - 1 : 0, reversed: reversed) {
            found.append($0.plain)
            return true
        }
    }
    return found
}

/// Elements of all forms and lengths: integers of every size, text, long text.
private func randomElement(_ random: inout Random) -> [UInt8] {
    switch random.index(below: 40) {
    case 0..<10: return Array(String(random.index(below: 6)).utf8)
    case 10..<16:
        let bits = Int64(bitPattern: random.next()) >> Int64(random.index(below: 64))
        return Array(String(bits).utf8)
    case 16: return random.bytes(random.index(below: 5_000))
    case 17: return [UInt8](repeating: 120, count: 900 + random.index(below: 200))
    case 18: return Array("0\(random.index(below: 10))".utf8)
    case 19: return []
    default: return Array("element \(random.index(below: 300))".utf8)
    }
}

struct ListTests {
    @Test func `integers and text of every length come back as they were`() {
        var texts = [
            "0", "127", "128", "4095", "4096", "-1", "-4096", "-4097", "32767", "32768", "-32768",
            "-32769", "8388607", "8388608", "-8388608", "-8388609", "2147483647", "2147483648",
            "-2147483648", "-2147483649", "9223372036854775807", "-9223372036854775808",
            "9223372036854775808", "", "01", "-0", "+1", " 1", "1 ", "abc",
        ].map { Array($0.utf8) }
        for count in [
            62, 63, 64, 124, 125, 126, 127, 128, 4094, 4095, 4096, 16_377, 16_384, 70_000,
        ] {
            texts.append([UInt8](repeating: 97, count: count))
        }
        var list = List()
        for text in texts { text.withView { list.push(ListElement($0), atFront: false) } }
        list.checkInvariants()
        #expect(contents(list) == texts)
        #expect(contents(list, reversed: true) == texts.reversed())
    }

    @Test(arguments: [60, 800, 20_000])
    func `a list does what an array does`(size: Int) {
        let seed = testSeed()
        var random = Random(seed: seed)
        var list = List()
        var model: [[UInt8]] = []
        let steps = min(size * 8, 30_000)
        for step in 0..<steps {
            let grows = model.isEmpty || model.count < size && step / (steps / 6) % 2 == 0
            let element = randomElement(&random)
            let roll = random.index(below: 100)
            if grows ? roll < 45 : roll < 20 {
                let atFront = random.index(below: 2) == 0
                element.withView { list.push(ListElement($0), atFront: atFront) }
                model.insert(element, at: atFront ? 0 : model.count)
            } else if grows ? roll < 75 : roll < 30 {
                // Often the same place, so that nodes split again and again.
                let index =
                    roll % 2 == 0 ? model.count / 2 : random.index(below: model.count + 1)
                element.withView { list.insert(ListElement($0), at: index) }
                model.insert(element, at: index)
            } else if model.isEmpty {
                continue
            } else if roll < 80 {
                let index = random.index(below: model.count)
                element.withView { list.replace(at: index, with: ListElement($0)) }
                model[index] = element
            } else if roll < 84 {
                let wanted = model[random.index(below: model.count)]
                let most = random.index(below: 3) == 0 ? Int.max : 1 + random.index(below: 5)
                let reversed = roll % 2 == 0
                let removed = wanted.withView {
                    list.remove(ListElement($0), limit: most, reversed: reversed)
                }
                var places = model.indices.filter { model[$0] == wanted }
                places = Array(reversed ? places.suffix(most) : places.prefix(most))
                for place in places.reversed() { model.remove(at: place) }
                #expect(removed == places.count, "seed \(seed)")
            } else {
                let start: Int
                let most = grows ? 3 : model.count / 8 + 2
                let length = min(model.count, 1 + random.index(below: most))
                switch roll % 3 {
                case 0: start = 0
                case 1: start = model.count - length
                default: start = random.index(below: model.count - length + 1)
                }
                list.remove(start..<(start + length))
                model.removeSubrange(start..<(start + length))
            }
            if step % 97 == 0 || size < 100 {
                list.checkInvariants()
                #expect(list.count == model.count, "seed \(seed)")
                if !model.isEmpty {
                    let index = random.index(below: model.count)
                    #expect(list.element(at: index).plain == model[index], "seed \(seed)")
                }
            }
            if step % 1_000 == 0 || size < 100 && step % 5 == 0 {
                #expect(contents(list) == model, "seed \(seed)")
                #expect(contents(list, reversed: true) == model.reversed(), "seed \(seed)")
                let copy = list.copy()
                copy.checkInvariants()
                #expect(contents(copy) == model, "seed \(seed)")
            }
        }
        #expect(contents(list) == model, "seed \(seed)")
    }

    @Test func `a queue keeps to its nodes and its directory`() {
        var list = List()
        for index in 0..<200_000 {
            Array("item \(index)".utf8).withView { list.push(ListElement($0), atFront: true) }
            if index >= 1_000 { list.remove((list.count - 1)..<list.count) }
        }
        list.checkInvariants()
        #expect(list.count == 1_000)
        #expect(list.bytes < 40_000)
    }

    @Test func `an element of twelve bytes costs at most fifteen`() {
        var list = List()
        for index in 0..<1_000_000 {
            Array("item:\(1_000_000 + index)".utf8)
                .withView { list.push(ListElement($0), atFront: false) }
        }
        #expect(list.bytes < 15_000_000)
        #expect(list.element(at: 500_000).plain == Array("item:1500000".utf8))
    }

    @Test func `a walk in slices gives the list as it was when the walk began`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        var list = List()
        for _ in 0..<6 {
            for _ in 0..<2_000 {
                randomElement(&random).withView { list.push(ListElement($0), atFront: true) }
            }
            let wanted = contents(list)
            var found: [(order: Int64, elements: [[UInt8]])] = []
            let walk = ListWalk { order, records in
                var elements: [[UInt8]] = []
                var offset = records.start
                while offset < records.end {
                    elements.append(records.element(offset).plain)
                    offset = records.next(offset)
                }
                found.append((order, elements))
            }
            list.beginWalk(walk)
            var order: Int64? = Int64.min
            while let from = order {
                order = list.walk(behind: from, nodes: 2)
                for _ in 0..<40 {
                    let element = randomElement(&random)
                    let index = list.count / 3
                    switch random.index(below: 6) {
                    case 0: element.withView { list.push(ListElement($0), atFront: true) }
                    case 1: element.withView { list.insert(ListElement($0), at: index) }
                    case 2 where list.count > 0:
                        element.withView { list.replace(at: index, with: ListElement($0)) }
                    case 3:
                        _ = element.withView {
                            list.remove(ListElement($0), limit: 3, reversed: true)
                        }
                    default:
                        let length = min(list.count - index, random.index(below: 60))
                        list.remove(index..<(index + length))
                    }
                }
            }
            list.endWalk()
            withExtendedLifetime(walk) {}
            found.sort { $0.order < $1.order }
            #expect(found.flatMap(\.elements) == wanted, "seed \(seed)")
            list.checkInvariants()
        }
    }
}
