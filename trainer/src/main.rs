//! The `shoestring` program: see `cli`.

fn main() -> std::process::ExitCode {
    trainer::cli::main()
}
