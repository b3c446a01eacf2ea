//! The `shoestring` program: see `cli`.

/// LibTorch's tensors come from here, too, since it calls the program's `malloc`. glibc's either gives each large tensor
/// back to the system and takes it again page by page, or keeps them and fragments. `.cargo/config.toml` configures it.
#[cfg(all(feature = "jemalloc", target_os = "linux"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    trainer::cli::main()
}
