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
            let signals = SignalWatcher { request in
                launch.log.write(.warning, Banner.received(request))
                switch request {
                case .stop(let number):
                    let settings = context.configuration.settings
                    let options =
                        number == SIGINT ? settings.shutdownOnInterrupt : settings.shutdownOnTerm
                    context.shutdown.ask(
                        ShutdownRequest.Wish(
                            isNow: options.now, saves: options.saves, isForced: options.force))
                case .exit(let status): exit(status)
                case .reopenLog:
                    do {
                        try launch.log.reopen()
                    } catch {
                        launch.log.write(.warning, "Can't reopen the log file: \(error)")
                    }
                }
            }
            _ = signals.start()
            launch.log.write(.notice, Banner.initialized)
            try server.start()
            do {
                try server.load()
            } catch {
                launch.log.write(.warning, "\(error)")
                launch.log.write(
                    .warning,
                    "The data could not be loaded. Nothing was written over. Make a copy of the files, "
                        + "then try 'martlet check FILE --fix'")
                return 1
            }
            launch.announceReady()
            let isWhole = server.runToEnd { signals.goOn() }
            launch.finish()
            return isWhole ? 0 : 1
        } catch {
            launch.log.write(.warning, "Failed listening on port: \(error)")
            return 1
        }
    }
}
