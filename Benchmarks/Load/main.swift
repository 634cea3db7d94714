//  martlet-benchmark: drives a server of this kind, and compares several.

import Glibc
import LoadGenerator

let status = Program.run(Array(CommandLine.arguments.dropFirst()))
exit(status)
