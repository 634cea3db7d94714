//  The process: arguments, signals, exit status.

import Glibc
import MartletServer

exit(Program.run())

/// From the arguments to the exit status.
enum Program {
    static func run() -> Int32 {
        switch Launch.prepare(CommandLine.arguments.dropFirst().map { [UInt8]($0.utf8) }) {
        case .end(let status):
            return status
        case .run(let launch):
            return serve(launch)
        }
    }

    private static func serve(_ launch: Launch) -> Int32 {
        do {
            let server = try Server(launch)
            let context = server.context
            _ = SignalWatcher { request in
                launch.log.write(.warning, Banner.received(request))
                switch request {
                case .stop(let number):
                    let settings = context.configuration.settings
                    let options =
                        number == SIGINT ? settings.shutdownOnInterrupt : settings.shutdownOnTerm
                    if options.save {
                        launch.log.write(
                            .warning, "This version has no snapshots: nothing is saved")
                    }
                    context.shutdown.ask(now: options.now)
                case .exit(let status): exit(status)
                case .reopenLog:
                    do {
                        try launch.log.reopen()
                    } catch {
                        launch.log.write(.warning, "Can't reopen the log file: \(error)")
                    }
                }
            }.start()
            launch.log.write(.notice, Banner.initialized)
            try server.start()
            launch.announceReady()
            server.runToEnd()
            launch.finish()
            return 0
        } catch {
            launch.log.write(.warning, "Failed listening on port: \(error)")
            return 1
        }
    }
}
