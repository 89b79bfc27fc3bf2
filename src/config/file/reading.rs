//! What one reading of one file gathers: mistakes, warnings and files, each with its place.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::mistake::Mistake;
use super::sources::Sources;
use crate::tls::Authorities;

/// One file, being read.
pub(super) struct Reading<'a> {
    file: Arc<str>,
    /// Where each line but the first begins.
    line_starts: Vec<usize>,
    pub(super) sources: &'a dyn Sources,
    /// The machine's own, or why there are none; once somebody has asked.
    system_roots: OnceCell<Result<Authorities, String>>,
    gathered: RefCell<Gathered>,
}

/// What came of it beside the configuration.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) mistakes: Vec<Mistake>,
    pub(super) warnings: Vec<Mistake>,
    /// The files that it refers to.
    pub(super) files: BTreeSet<PathBuf>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(text: &str, file: &str, sources: &'a dyn Sources) -> Self {
        let line_starts = text.match_indices('\n').map(|(at, _)| at + 1).filter(|at| *at < text.len());
        let line_starts = line_starts.collect();
        let (system_roots, gathered) = (OnceCell::new(), RefCell::default());
        Self { file: file.into(), line_starts, sources, system_roots, gathered }
    }

    /// Notes what is wrong at this byte.
    pub(super) fn mistake(&self, at: usize, what: String) {
        let mistake = self.place(at, what);
        self.gathered.borrow_mut().mistakes.push(mistake);
    }

    /// Notes what is odd at this byte.
    pub(super) fn warning(&self, at: usize, what: String) {
        let warning = self.place(at, what);
        self.gathered.borrow_mut().warnings.push(warning);
    }

    /// Notes that this file belongs to the configuration.
    pub(super) fn opened(&self, path: &Path) {
        self.gathered.borrow_mut().files.insert(path.to_owned());
    }

    /// The authorities that the machine believes; or why there are none.
    pub(super) fn system_roots(&self) -> Result<Authorities, String> {
        let read = || {
            let roots = self.sources.system_roots().map_err(|error| error.to_string())?;
            Authorities::from_der(roots).map_err(|error| error.to_string())
        };
        self.system_roots.get_or_init(read).clone()
    }

    /// Whether anything is wrong so far.
    pub(super) fn has_mistakes(&self) -> bool {
        !self.gathered.borrow().mistakes.is_empty()
    }

    /// The line of this byte, from 1.
    pub(super) fn line(&self, at: usize) -> u32 {
        let before = self.line_starts.partition_point(|start| *start <= at);
        u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// All that was noted, in the order of the file.
    pub(super) fn finish(self) -> Gathered {
        let mut gathered = self.gathered.into_inner();
        gathered.mistakes.sort_by_key(|mistake| mistake.line);
        gathered.warnings.sort_by_key(|warning| warning.line);
        gathered
    }

    fn place(&self, at: usize, what: String) -> Mistake {
        Mistake { file: self.file.clone(), line: self.line(at), what }
    }
}
