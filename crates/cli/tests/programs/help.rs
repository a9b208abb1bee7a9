//! What the program says of itself.

use crate::support::World;

const COMMANDS: [&str; 10] =
    ["setup", "login", "request", "keep-alive", "proxy", "doctor", "keygen", "gateway", "probe", "demo"];

#[test]
fn each_command_explains_itself_with_examples() {
    let world = World::new("help");
    let all = world.run(&["--help"]).ends_with(0).stdout;
    for command in COMMANDS {
        assert!(all.contains(&format!("\n  {command} ")), "{command}");
        let help = world.run(&[command, "--help"]).ends_with(0).stdout;
        assert!(command == "demo" || help.contains(&format!("Examples:\n  ibkr-oauth {command}")), "{help}");
        assert!(!help.contains("--access-token") && !help.contains("--secret"), "no secret is an argument: {help}");
    }
}

#[test]
fn help_and_readme_list_the_same_exit_codes() {
    let world = World::new("exit-codes");
    let help = world.run(&["--help"]).ends_with(0).stdout;
    let (_, codes) = help.split_once("Exit codes:\n").unwrap();
    let readme = include_str!("../../README.md");
    assert_eq!(codes.lines().count(), 9);
    for line in codes.lines() {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        assert!(readme.contains(&format!("| {code} | {meaning} |")), "{line}");
    }
}
