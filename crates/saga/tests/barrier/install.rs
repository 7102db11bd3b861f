//! Puts an example with its dependencies where it can be run: `target/examples/{name}`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

/// A command of a virtual environment with what `requirements.txt` lists.
pub(crate) fn python(name: &str) -> Vec<String> {
    let venv = installed(name, &["requirements.txt"], |folder| {
        let pip = folder.join("bin/pip").display().to_string();
        let list = source(name).join("requirements.txt").display().to_string();
        run(folder, &["python3", "-m", "venv", "."], "python3 with its module venv (Debian: python3-venv)");
        run(folder, &[&pip, "install", "--quiet", "--disable-pip-version-check", "-r", &list], "a registry for pip");
    });
    let python = venv.join("bin/python").display().to_string();
    vec![python, source(name).join("service.py").display().to_string()]
}

/// A command of a copy of the example beside what `package-lock.json` lists.
pub(crate) fn node(name: &str) -> Vec<String> {
    let folder = installed(name, &["package.json", "package-lock.json"], |folder| {
        run(folder, &["npm", "ci", "--no-audit", "--no-fund", "--silent"], "npm and a registry for it");
    });
    let service = folder.join("service.js");
    fs::copy(source(name).join("service.js"), &service).unwrap();
    vec!["node".to_owned(), service.display().to_string()]
}

/// The folder, made anew when one of the lists has changed. A mark is written last: an installation that was cut is not
/// taken for a whole one.
fn installed(name: &str, lists: &[&str], install: impl FnOnce(&Path)) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("examples").join(name);
    let wanted: String = lists.iter().map(|list| fs::read_to_string(source(name).join(list)).unwrap()).collect();
    let mark = folder.join("installed");
    if fs::read_to_string(&mark).ok().as_ref() != Some(&wanted) {
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).unwrap();
        for list in lists {
            fs::copy(source(name).join(list), folder.join(list)).unwrap();
        }
        install(&folder);
        fs::write(mark, wanted).unwrap();
    }
    folder
}

fn run(folder: &Path, words: &[&str], needs: &str) {
    let done = Command::new(words[0]).args(&words[1..]).current_dir(folder).output();
    let said = match &done {
        Ok(output) if output.status.success() => return,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    panic!("{words:?} failed; it needs {needs}: {said}");
}
