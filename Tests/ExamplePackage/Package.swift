// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "invoicing",
    dependencies: [.package(name: "reeve", path: "../..")],
    targets: [
        .executableTarget(name: "invoicing", dependencies: [.product(name: "ReeveKit", package: "reeve")])
    ])
