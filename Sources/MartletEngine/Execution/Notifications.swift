//  Keyspace notifications: events of keys as messages, published while the key's shard is held, so
//  that their order per key is the order of execution.
//
//      __keyspace@0__:<key>      <event>
//      __keyevent@0__:<event>    <key>

import MartletBase

extension Call {
    /// Publishes an event, if its class was chosen.
    mutating func notify(_ event: KeyEvent, _ key: ByteView, _ database: Int) {
        if unsafe !keyspace.sinks.contains(.notifying) || state.pubSub.isIdle { return }
        let classes = unsafe EventClasses(
            rawValue: state.settings.notifications.load(ordering: .relaxed))
        let (eventClass, name) = event.announcement
        if classes.isDisjoint(with: eventClass) { return }
        if classes.contains(.toKeyspace) {
            publish(ByteView(name), to: "__keyspace@", database, key)
        }
        if classes.contains(.toKeyEvent) {
            publish(key, to: "__keyevent@", database, ByteView(name))
        }
    }

    private mutating func publish(
        _ message: ByteView, to prefix: StaticString, _ database: Int, _ suffix: ByteView
    ) {
        eventChannel.removeAll()
        eventChannel.append(prefix)
        eventChannel.append(decimal: Int64(database))
        eventChannel.append("__:")
        eventChannel.append(suffix)
        let channel = unsafe keyspace.keyspace.pointee.key(eventChannel.view)
        _ = unsafe state.pubSub.publish(message, to: channel, fromLoop: loop)
        // A key may be as long as any argument.
        if eventChannel.capacity > 64 * 1024 { eventChannel.release() }
    }
}
