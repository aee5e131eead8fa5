import ReeveCLI

@main
struct Reeve {
    static func main() { runReeve() }
}
