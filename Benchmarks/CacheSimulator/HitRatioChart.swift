//  Hit ratios over cache sizes as a picture: one panel for each trace, one line for each cache.

/// Points of one line: a ratio for each size that was measured.
package struct HitRatioLine: Sendable {
    package let name: String
    package let points: [(sizeBytes: Int, ratio: Double)]

    package init(name: String, points: [(sizeBytes: Int, ratio: Double)]) {
        self.name = name
        self.points = points
    }
}

/// One trace.
package struct HitRatioPanel: Sendable {
    package let title: String
    package let lines: [HitRatioLine]

    package init(title: String, lines: [HitRatioLine]) {
        self.title = title
        self.lines = lines
    }
}

/// Draws the panels side by side, three in a row, with one legend.
///
/// Sizes stand on a logarithmic axis; each panel has its own range of ratios, rounded to 5 %.
package func hitRatioChart(_ panels: [HitRatioPanel]) -> String {
    let columns = min(3, max(1, panels.count))
    let rows = (panels.count + columns - 1) / columns
    var names: [String] = []
    for line in panels.flatMap(\.lines) where !names.contains(line.name) { names.append(line.name) }
    let legendRows = (names.count + columns * 2 - 1) / (columns * 2)
    let width = columns * Chart.width
    let height = rows * Chart.height + legendRows * Chart.legendHeight + 8
    var svg = """
        <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(width) \(height)" \
        font-family="sans-serif" font-size="11">
        <rect width="\(width)" height="\(height)" fill="white"/>

        """
    for (index, panel) in panels.enumerated() {
        svg += Chart.draw(
            panel, names, left: index % columns * Chart.width, top: index / columns * Chart.height)
    }
    for (index, name) in names.enumerated() {
        let x = index % (columns * 2) * (Chart.width / 2) + 12
        let y = rows * Chart.height + index / (columns * 2) * Chart.legendHeight + 14
        svg += """
            <path d="M\(x) \(y - 4)h22" \(Chart.stroke(index))/>\
            <text x="\(x + 27)" y="\(y)">\(xmlEscaped(name))</text>

            """
    }
    return svg + "</svg>\n"
}

private enum Chart {
    static let width = 260
    static let height = 190
    static let legendHeight = 18
    static let plot = (left: 40, top: 24, width: 208, height: 130)
    /// Told apart by those who do not see colours as others do (Okabe and Ito 2008), and then by dashes.
    static let colors = [
        "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999",
    ]

    static func stroke(_ index: Int) -> String {
        let dashes = index < colors.count ? "" : " stroke-dasharray=\"5 3\""
        let color = colors[index % colors.count]
        return "fill=\"none\" stroke=\"\(color)\" stroke-width=\"1.6\"\(dashes)"
    }

    static func draw(_ panel: HitRatioPanel, _ names: [String], left: Int, top: Int) -> String {
        let points = panel.lines.flatMap(\.points)
        guard let smallest = points.map(\.sizeBytes).min(),
            let largest = points.map(\.sizeBytes).max(),
            let least = points.map(\.ratio).min(), let most = points.map(\.ratio).max()
        else { return "" }
        let bottom = (least * 20).rounded(.down) / 20
        let ceiling = max(bottom + 0.05, (most * 20).rounded(.up) / 20)
        let x0 = Double(left + plot.left)
        let y0 = Double(top + plot.top)
        func x(_ bytes: Int) -> Double {
            let span = logarithm(Double(largest) / Double(smallest))
            return x0 + Double(plot.width)
                * (span == 0 ? 0.5 : logarithm(Double(bytes) / Double(smallest)) / span)
        }
        func y(_ ratio: Double) -> Double {
            y0 + Double(plot.height) * (1 - (ratio - bottom) / (ceiling - bottom))
        }
        var svg = "<text x=\"\(short(x0))\" y=\"\(top + 16)\" font-weight=\"bold\">"
        svg += "\(xmlEscaped(panel.title))</text>\n"
        for step in 0...4 {
            let ratio = bottom + (ceiling - bottom) * Double(step) / 4
            svg += "<path d=\"M\(short(x0)) \(short(y(ratio)))h\(plot.width)\" stroke=\"#ddd\"/>"
            svg += "<text x=\"\(short(x0 - 4))\" y=\"\(short(y(ratio) + 4))\" text-anchor=\"end\">"
            svg += "\(short(ratio * 100))%</text>\n"
        }
        for bytes in Set(points.map(\.sizeBytes)).sorted() {
            svg += "<text x=\"\(short(x(bytes)))\" y=\"\(top + plot.top + plot.height + 16)\" "
            svg += "text-anchor=\"middle\">\(short(Double(bytes) / Double(1 << 20)))M</text>\n"
        }
        for line in panel.lines {
            let sorted = line.points.sorted { $0.sizeBytes < $1.sizeBytes }
            let path = sorted.map { "\(short(x($0.sizeBytes))) \(short(y($0.ratio)))" }
            let index = names.firstIndex(of: line.name) ?? 0
            svg += "<path d=\"M\(path.joined(separator: "L"))\" \(stroke(index))/>\n"
        }
        return svg
    }

    /// A number with one digit after the point, if that is not zero.
    private static func short(_ value: Double) -> String {
        let tenths = Int((value * 10).rounded())
        return tenths % 10 == 0 ? String(tenths / 10) : "\(tenths / 10).\(abs(tenths % 10))"
    }
}

private func xmlEscaped(_ text: String) -> String {
    text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
}
