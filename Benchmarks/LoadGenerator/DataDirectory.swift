//  Directories for the files of spawned servers: made, copied, removed.

import Glibc

/// A new directory, which is removed with all it holds: by `remove`, and when a signal ends the
/// benchmark. The servers that write there must have ended before.
package final class DataDirectory {
    /// Absolute, without symbolic links.
    package let path: String

    /// Makes a directory in `parent` under a name that nothing has yet.
    ///
    /// - Throws: `.system` when `parent` is not there or not writable.
    package init(in parent: String) throws(BenchmarkError) {
        var name = Array("\(parent)/martlet-benchmark-XXXXXX".utf8CString)
        guard unsafe mkdtemp(&name) != nil, let resolved = unsafe realpath(name, nil) else {
            throw .system(call: "making a directory in \(parent)", errorNumber: errno)
        }
        path = unsafe String(cString: resolved)
        unsafe free(resolved)
        removeOnSignals(path)
    }

    /// Makes a directory in it and returns its path.
    ///
    /// - Throws: `.system`, also when it is there already.
    package func makeDirectory(_ name: String) throws(BenchmarkError) -> String {
        let inner = path + "/" + name
        guard unsafe mkdir(inner, 0o700) == 0 else {
            throw .system(call: "making \(inner)", errorNumber: errno)
        }
        return inner
    }

    /// Removes it with all it holds.
    package func remove() {
        removeTree(path)
        removeOnSignals(nil)
    }
}

/// Removes a directory with all it holds. What is gone already is no failure.
package func removeTree(_ path: String) {
    for name in directoryEntries(path) {
        let inner = path + "/" + name
        if unsafe unlink(inner) != 0 && errno == EISDIR { removeTree(inner) }
    }
    unsafe rmdir(path)
}

/// Copies what `source` holds, regular files and directories, into the directory `target`.
///
/// - Throws: `.system` for the first call that failed.
package func copyTree(from source: String, to target: String) throws(BenchmarkError) {
    for name in directoryEntries(source) {
        let from = source + "/" + name
        let to = target + "/" + name
        if isDirectory(from) {
            guard unsafe mkdir(to, 0o700) == 0 else {
                throw .system(call: "making \(to)", errorNumber: errno)
            }
            try copyTree(from: from, to: to)
        } else {
            try copyFile(from: from, to: to)
        }
    }
}

/// Bytes of all files below a directory.
package func treeBytes(_ path: String) -> Int {
    directoryEntries(path).reduce(0) { sum, name in
        let inner = path + "/" + name
        return sum + (isDirectory(inner) ? treeBytes(inner) : fileBytes(inner))
    }
}

private func isDirectory(_ path: String) -> Bool {
    var status = stat()
    return unsafe lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
}

private func fileBytes(_ path: String) -> Int {
    var status = stat()
    return unsafe lstat(path, &status) == 0 ? Int(status.st_size) : 0
}

private func copyFile(from source: String, to target: String) throws(BenchmarkError) {
    func check(_ result: Int, _ path: String) throws(BenchmarkError) {
        guard result >= 0 else { throw .system(call: "copying \(path)", errorNumber: errno) }
    }
    let input = unsafe open(source, O_RDONLY | O_CLOEXEC)
    try check(Int(input), source)
    defer { close(input) }
    let output = unsafe open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    try check(Int(output), target)
    defer { close(output) }
    var chunk = [UInt8](repeating: 0, count: 1 << 20)
    while true {
        let got = unsafe read(input, &chunk, chunk.count)
        try check(got, source)
        if got == 0 { return }
        var written = 0
        while written < got {
            let count = unsafe chunk.withUnsafeBytes { raw in
                unsafe write(output, raw.baseAddress.map { unsafe $0 + written }, got - written)
            }
            try check(count, target)
            written += count
        }
    }
}
