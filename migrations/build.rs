//! The program carries its migrations, so it is built anew when they change.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
