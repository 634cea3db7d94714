//  What the walks over the nodes of a structure have in common: somebody who began them.

/// A walk over the nodes of a structure.
class NodeWalk {
    /// Who began the walk, and keeps it.
    private unowned let beginner: AnyObject?

    init(owner: AnyObject?) { beginner = owner }

    /// Who began the walk.
    var owner: AnyObject? { beginner }
}
