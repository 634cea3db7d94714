//  The heap of deadlines against a sorted array.

import MartletBase
import Testing

@Suite struct DeadlineHeapTests {
    @Test(arguments: [1, 2, 3] as [UInt64])
    func `what is due comes in the order of its deadlines`(seed: UInt64) {
        var random = Random(seed: seed)
        var heap = DeadlineHeap<Int>()
        var model: [(nanoseconds: Int64, element: Int)] = []
        var now: Int64 = 0
        for step in 0..<5_000 {
            switch random.next() % 8 {
            case 0...3:
                let deadline = now + Int64(random.next() % 100)
                heap.insert(step, nanoseconds: deadline)
                model.append((deadline, step))
            case 4:
                let parity = Int(random.next() % 5)
                heap.keep { $0 % 5 != parity }
                model.removeAll { $0.element % 5 == parity }
            default:
                now += Int64(random.next() % 40)
                while let element = heap.removeDue(nowNanoseconds: now) {
                    guard let index = model.firstIndex(where: { $0.element == element }) else {
                        Issue.record("\(element) was never inserted, or removed before")
                        return
                    }
                    #expect(model[index].nanoseconds == model.map(\.nanoseconds).min())
                    model.remove(at: index)
                }
                #expect(model.allSatisfy { $0.nanoseconds > now })
            }
            #expect(heap.count == model.count)
            #expect(heap.earliestNanoseconds == model.map(\.nanoseconds).min())
        }
    }
}
