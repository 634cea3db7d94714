//  The files of this repository, found from the place of this one.

import Foundation

/// The working tree that the tests were built from.
enum Repository {
    static let root = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()

    /// What a program must be made of: every Swift file but the tests'.
    static let sources = swiftFiles.filter { !$0.path.hasPrefix("Tests/") }

    static let tests = swiftFiles.filter { $0.path.hasPrefix("Tests/") }

    /// The files of the engine.
    static let engine = sources.filter { $0.path.hasPrefix("Sources/MartletEngine/") }

    static let swiftFiles: [SourceFile] = files { $0.hasSuffix(".swift") }.map {
        SourceFile(path: $0, text: text(of: $0) ?? "")
    }

    /// The text of a file; nil when it is not there or not UTF-8.
    static func text(of path: String) -> String? {
        try? String(contentsOf: root.appending(path: path), encoding: .utf8)
    }

    /// The paths of all files, from the root, in order; what builds and tools leave is passed over.
    static func files(where isWanted: (String) -> Bool) -> [String] {
        let folders = ["Sources", "Tests", "Benchmarks", ".ci"]
        var paths: [String] = []
        let manager = FileManager.default
        let top = (try? manager.contentsOfDirectory(atPath: root.path)) ?? []
        for name in top where !folders.contains(name) {
            var isDirectory: ObjCBool = false
            let path = root.appending(path: name).path
            if unsafe manager.fileExists(atPath: path, isDirectory: &isDirectory),
                !isDirectory.boolValue
            {
                paths.append(name)
            }
        }
        for folder in folders {
            let names = manager.enumerator(atPath: root.appending(path: folder).path)
            for case let name as String in names ?? FileManager.DirectoryEnumerator() {
                let isLeftover = name.split(separator: "/").contains {
                    $0 == "__pycache__" || $0.hasPrefix(".pytest") || $0.hasPrefix(".hypothesis")
                }
                if !isLeftover { paths.append(folder + "/" + name) }
            }
        }
        return paths.filter(isWanted).sorted()
    }
}
