//  Values of every type and encoding, and what a client sees of them.

extension Store {
    /// Makes keys of every kind. `isLong` makes collections that are large ones too.
    func fill(isLong: Bool = true) {
        for line in [
            "SET text hello", "SET number 12345", "SET negative -7", "SET wide 9223372036854775807",
            "APPEND changed 12", "RPUSH list a b 1 -70000 5000000000", "SADD integers 1 2 -3 70000",
            "SADD wide-integers 1 9000000000", "SADD members a b 12", "ZADD scores 1 a 2.5 b inf c",
            "HSET hash a 1 b two", "HSET timed a 1 b 2 c 3",
            "HPEXPIREAT timed 1900000000000 FIELDS 1 a",
            "HPEXPIREAT timed 1800000000000 FIELDS 1 b",
            "SET mortal v PXAT 1900000000001", "XADD stream 5-1 a 1 b two",
            "XADD stream 5-2 a 2 b three", "XADD stream 6-0 other 1", "XADD stream 7-0 a 3 b 4",
            "XDEL stream 5-2", "XGROUP CREATE stream group 0",
            "XREADGROUP GROUP group ann COUNT 1 STREAMS stream >",
            "XREADGROUP GROUP group bob COUNT 1 STREAMS stream >", "XGROUP CREATE stream idle $",
            "XADD empty 1-1 a b", "XDEL empty 1-1", "SELECT 2", "SET other db", "SELECT 0",
        ] {
            self.line(line)
        }
        run("SET", "long", String(repeating: "abcdefgh", count: 40))
        run("SET", "empty string", "")
        run("RPUSH", "list", String(repeating: "x", count: 200), "")
        guard isLong else { return }
        for index in 0..<700 {
            let number = String(index * 37 % 1000)
            run("RPUSH", "long list", "element \(number)", number)
            run("SADD", "long set", "member \(index)")
            run("SADD", "long integers", String(index * 1_000_003))
            run("ZADD", "long scores", String(Double(index) * 1.1), "member \(index)")
            run("HSET", "long hash", "field \(index)", number)
            run("HSET", "long timed", "field \(index)", number)
            run("XADD", "long stream", "\(index + 1)-\(index % 3)", "name", number, "b", "text")
        }
        run("HPEXPIREAT", "long timed", "1900000000000", "FIELDS", "2", "field 1", "field 2")
        run("SET", "huge", String(repeating: "0123456789abcdef", count: 20_000))
        run("RPUSH", "huge list", String(repeating: "y", count: 20_000), "z")
        run("XGROUP", "CREATE", "long stream", "group", "0")
        run("XREADGROUP", "GROUP", "group", "ann", "COUNT", "300", "STREAMS", "long stream", ">")
    }

    /// Collections of two thousand members, which a snapshot saves in pieces.
    func fillLarge() {
        for number in 0..<2_000 {
            line("ZADD large:z \(Double(number % 700) / 7) member-\(number)")
            line("HSET large:h field-\(number) value-\(number)")
            line("HSET large:t field-\(number) value-\(number)")
            line("SADD large:s member-\(number)")
            line("RPUSH large:l element-\(number) \(number)")
            line("XADD large:x \(number + 1)-0 name value-\(number)")
            if number % 3 == 0 {
                line("HPEXPIRE large:t \(1_000_000 + number) FIELDS 1 field-\(number)")
            }
        }
        line("XGROUP CREATE large:x group 0")
        line("XREADGROUP GROUP group ann COUNT 900 STREAMS large:x >")
        line("XREADGROUP GROUP group bob COUNT 90 STREAMS large:x >")
    }

    /// Changes the collections of `fillLarge` somewhere.
    func changeLarge(_ number: Int) {
        line("ZINCRBY large:z 5 member-\(number)")
        line("HSET large:h field-\(number) changed")
        line("HSET large:t field-\(number) changed")
        line("HPERSIST large:t FIELDS 1 field-\(number)")
        line("SREM large:s member-\(number)")
        line("LPOP large:l")
        line("LSET large:l \(number) changed")
        line("XDEL large:x \(number)-0")
        line("XACK large:x group \(number)-0")
    }

    /// Keys that have a form which only the newest servers write.
    func fillNewest() {
        for line in [
            "XADD given 1-1 a 1", "XADD given 1-2 a 2", "XGROUP CREATE given group 0",
            "XREADGROUP GROUP group ann STREAMS given >", "XNACK given group FAIL IDS 1 1-2",
            "XNACK given group FAIL IDS 1 1-1",
            "XADD produced IDMP p1 i1 5-1 a 1", "XADD produced IDMP p1 i2 6-1 a 2",
            "XADD produced IDMP p2 i1 7-1 a 2",
        ] { self.line(line) }
    }

    /// What a client sees of all keys, in the order of their names.
    var readOut: [String] {
        var lines: [String] = []
        for database in 0..<4 {
            run("SELECT", String(database))
            let names = run("KEYS", "*").split(separator: "\r\n", omittingEmptySubsequences: false)
            // Lengths and names in turn, behind the count.
            let keys = names.dropFirst().enumerated().filter { $0.offset % 2 == 1 }
                .map { String($0.element) }.sorted()
            for key in keys { lines += describe(key).map { "\(database) \(key): \($0)" } }
        }
        run("SELECT", "0")
        return lines
    }

    private func describe(_ key: String) -> [String] {
        let type = run("TYPE", key)
        var replies = [type, run("PEXPIRETIME", key), run("OBJECT", "ENCODING", key)]
        switch type {
        case "+string\r\n": replies.append(run("GET", key))
        case "+list\r\n": replies.append(run("LRANGE", key, "0", "-1"))
        case "+set\r\n": replies.append(run("SORT", key, "ALPHA"))
        case "+zset\r\n": replies.append(run("ZRANGE", key, "0", "-1", "WITHSCORES"))
        case "+hash\r\n":
            let fields = run("HKEYS", key)
            let names = fields.split(separator: "\r\n", omittingEmptySubsequences: false)
                .dropFirst().enumerated().filter { $0.offset % 2 == 1 }.map { String($0.element) }
                .sorted()
            for name in names {
                replies.append(
                    name + run("HGET", key, name)
                        + run("HPEXPIRETIME", key, "FIELDS", "1", name))
            }
        default:
            replies.append(run("XRANGE", key, "-", "+"))
            replies.append(run("XINFO", "GROUPS", key))
            let info = run("XINFO", "STREAM", key, "FULL", "COUNT", "0")
            // Ours and a loaded one's blocks may differ.
            replies.append(
                info.split(separator: "\r\n").filter { !$0.hasPrefix("$") }.joined(separator: " ")
                    .replacing(/radix-tree-nodes :[0-9]+/, with: "")
                    .replacing(/radix-tree-keys :[0-9]+/, with: "")
                    .replacing(/active-time :[0-9-]+/, with: ""))
        }
        return replies
    }
}
