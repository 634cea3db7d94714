//  The bounds fit each other.

import MartletBase
import Testing

@Test func `the bounds stand to each other as the code assumes`() {
    Limits.checkRelations()
}
