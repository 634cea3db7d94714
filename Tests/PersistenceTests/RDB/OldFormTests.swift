//  What servers of the past, and others than Redis, have written.

import MartletBase
import MartletPersistence
import Testing

struct OldFormTests {
    @Test(arguments: OldForms.all.indices) func `a value of an older type is understood`(
        index: Int
    ) {
        let form = OldForms.all[index]
        let store = Store()
        #expect(store.restore("key", form.payload.payload()), "\(form.name)")
        let reply = store.line(form.command).split(separator: "\r\n")
            .filter { !$0.hasPrefix("$") && !$0.hasPrefix("*") }.map(String.init)
        let wanted = form.reply.filter { !$0.isEmpty && !$0.hasPrefix("*") }
        #expect(reply == wanted, "\(form.name)")
        store.checkInvariants()
        #expect(store.run("DEL", "key") == ":1\r\n")
    }

    @Test func `Valkey's hash with deadlines is told by its version`() {
        let value: [UInt8] =
            [22] + OldForms.length(2) + OldForms.string("a") + OldForms.string("1")
            + OldForms.bytes(-1, 8) + OldForms.string("b") + OldForms.string("2")
            + OldForms.bytes(1_900_000_000_000, 8)
        let store = Store()
        #expect(store.restore("key", value.payload(version: 80)))
        #expect(
            store.line("HPEXPIRETIME key FIELDS 2 a b") == "*2\r\n:-1\r\n:1900000000000\r\n")
        #expect(!store.restore("key", value.payload(version: 12)))
    }

    @Test func `files of every version are read`() throws {
        for (magic, hasChecksum) in [
            ("REDIS0001", false), ("REDIS0004", false), ("REDIS0006", true), ("REDIS0012", true),
            ("VALKEY080", true),
        ] {
            var file = Array(magic.utf8) + [254, 1, 253] + OldForms.bytes(1_900_000_000, 4)
            file += [0] + OldForms.string("key") + OldForms.string("value") + [255]
            if hasChecksum { file += [UInt8](repeating: 0, count: 8) }
            let store = Store()
            let summary = try store.load(file)
            #expect(summary.keys == 1 && summary.endOffset == file.count)
            #expect(summary.isValkey == (magic == "VALKEY080"))
            store.run("SELECT", "1")
            #expect(store.run("EXPIRETIME", "key") == ":1900000000\r\n")
        }
    }

    @Test func `what Martlet does not have is refused by name, with its place`() {
        let module =
            Array("REDIS0010".utf8) + [7] + OldForms.string("key") + [0x81]
            // "ReJSON-RL" and version 3: nine characters of six bits, ten bits.
            + [0x44, 0x9E, 0x48, 0x4E, 0x34, 0xFE, 0x44, 0x4B].map { UInt8($0) }
        for (file, part) in [
            (module, "a value of module type"), (Array("REDIS0010".utf8) + [28], "type 28"),
            (Array("REDIS0099".utf8), "version 99"), (Array("SQLite fo".utf8), "begin"),
            (Array("REDIS0010".utf8) + [254, 60], "database 60"),
        ] {
            var thrown: StorageError?
            do throws(StorageError) { _ = try Store().load(file) } catch { thrown = error }
            #expect("\(thrown.map { "\($0)" } ?? "")".contains(part), "\(part)")
        }
    }

    @Test func `fields about the file and modules' notes are passed over, functions are loaded`()
        throws
    {
        let library = "#!lua name=x\nredis.register_function('f', function() return 7 end)"
        var file = Array("REDIS0010".utf8) + [250] + OldForms.string("redis-ver")
        file += OldForms.string("9.9") + [245] + OldForms.string(library)
        file += [247, 5, 2, 1, 2, 7, 5] + OldForms.string("data") + [0]
        file += [244, 1, 2, 3, 251, 1, 0, 248, 5, 249, 7]
        file += [0] + OldForms.string("key") + OldForms.string("value") + [255]
        file += [UInt8](repeating: 0, count: 8)
        let store = Store()
        let summary = try store.load(file)
        #expect(summary.functions == 1)
        #expect(summary.modules.count == 1)
        #expect(summary.aux.first?.name == "redis-ver")
        #expect(store.run("OBJECT", "IDLETIME", "key") == ":5\r\n")
        #expect(store.run("FCALL", "f", "0") == ":7\r\n")
    }
}
