import JobKit
import ReeveCLI

@main
struct Main {
    static func main() { runReeve(jobs: [AnyJob(SendInvoice())]) }
}
