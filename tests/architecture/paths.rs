//! Paths in Rust source: where they are written, and what they mean.
//!
//! Secret: how names are resolved. Close to the compiler's rules and never narrower: a name that could mean two things is
//! followed to both.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use syn::visit::{self, Visit};

/// How the crate is called from outside, by its program.
const CRATE: &str = "mailhaul";
/// More hops than any sane chain of re-exports; stops circles.
const HOPS_MAX: usize = 16;

type Names = Vec<String>;

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// In this crate, from its root.
    Inside { path: Names, is_glob: bool },
    /// In another crate, with its name first.
    Outside { path: Names, is_glob: bool },
}

/// A path as it is written.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// The module it stands in, from the root.
    module: Names,
    parts: Names,
    /// Written with `::` in front.
    is_outside: bool,
    is_glob: bool,
}

/// One file.
pub(crate) struct Source {
    pub(crate) file: String,
    module: Names,
    pub(crate) found: Vec<Found>,
    /// Ways to bring in code that is not seen here.
    pub(crate) evasions: BTreeSet<String>,
}

/// All files, and what their modules hold.
#[derive(Default)]
pub(crate) struct Sources {
    sources: Vec<Source>,
    modules: BTreeMap<Names, Module>,
}

#[derive(Default)]
struct Module {
    /// Defined here.
    items: BTreeSet<String>,
    /// Imported here, or another name for a type: by the name it has here.
    imports: Vec<(String, Found)>,
    globs: Vec<Found>,
    public_globs: Vec<Found>,
    public_imports: Vec<Found>,
}

impl Found {
    /// Gives the path as text.
    pub(crate) fn written(&self) -> String {
        self.parts.join("::") + if self.is_glob { "::*" } else { "" }
    }
}

impl Place {
    fn push(self, rest: &[String], glob: bool) -> Self {
        let extend = |path: Names| path.into_iter().chain(rest.iter().cloned()).collect();
        match self {
            Self::Inside { path, .. } => Self::Inside { path: extend(path), is_glob: glob },
            Self::Outside { path, .. } => Self::Outside { path: extend(path), is_glob: glob },
        }
    }
}

impl Source {
    /// Gives the room it belongs to; None for the crate's root.
    pub(crate) fn room(&self) -> Option<&str> {
        if self.file == "src/main.rs" {
            return Some("main");
        }
        self.module.first().map(String::as_str)
    }
}

impl Sources {
    /// Reads files, given by their path in the project and their text.
    pub(crate) fn parse(files: &[(&str, &str)]) -> Self {
        let mut all = Self::default();
        for (file, text) in files {
            let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
            let module = module_of(file);
            let mut reader = Reader {
                module: module.clone(),
                modules: &mut all.modules,
                source: Source { file: (*file).to_owned(), module, found: Vec::new(), evasions: BTreeSet::new() },
            };
            reader.enter();
            reader.visit_file(&parsed);
            let source = reader.source;
            all.sources.push(source);
        }
        all
    }

    /// Gives all files.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter()
    }

    /// Gives the names of all modules, and of those above them.
    pub(crate) fn module_names(&self) -> BTreeSet<&str> {
        self.modules.keys().flatten().map(String::as_str).collect()
    }

    /// Gives every place that a path leads to or through.
    pub(crate) fn places(&self, found: &Found) -> Vec<Place> {
        let mut places = BTreeSet::new();
        for place in self.first_places(found, HOPS_MAX) {
            self.follow(place, &mut places, HOPS_MAX);
        }
        places.into_iter().collect()
    }

    /// Resolves the beginning of a path, up to where it is absolute.
    fn first_places(&self, found: &Found, hops: usize) -> Vec<Place> {
        let (first, rest) = (found.parts[0].as_str(), &found.parts[1..]);
        let inside = |path: Names| vec![Place::Inside { path, is_glob: false }.push(rest, found.is_glob)];
        match first {
            "crate" | CRATE => inside(Vec::new()),
            _ if found.is_outside => vec![Place::Outside { path: found.parts.clone(), is_glob: found.is_glob }],
            "self" | "super" => {
                let mut module = found.module.clone();
                let steps = found.parts.iter().take_while(|part| matches!(part.as_str(), "self" | "super")).count();
                for _ in found.parts[..steps].iter().filter(|part| *part == "super") {
                    module.pop();
                }
                vec![Place::Inside { path: module, is_glob: false }.push(&found.parts[steps..], found.is_glob)]
            }
            // Of this very module, whatever it is.
            "Self" => Vec::new(),
            _ => {
                let places = self.named(&found.module, first, hops);
                if places.is_empty() {
                    return vec![Place::Outside { path: found.parts.clone(), is_glob: found.is_glob }];
                }
                places.into_iter().map(|place| place.push(rest, found.is_glob)).collect()
            }
        }
    }

    /// Gives what a name means in a module; nothing if the module does not know it.
    fn named(&self, module: &[String], name: &str, hops: usize) -> Vec<Place> {
        let path: Names = module.iter().cloned().chain([name.to_owned()]).collect();
        let Some(known) = self.modules.get(module).filter(|_| hops > 0) else { return Vec::new() };
        if self.modules.contains_key(&path) || known.items.contains(name) {
            return vec![Place::Inside { path, is_glob: false }];
        }
        // `use tokio;` does not explain `tokio`.
        let explains = |found: &Found| found.is_outside || found.parts[0] != name;
        let imports = known.imports.iter().filter(|(alias, found)| alias == name && explains(found));
        let named: Vec<Place> = imports.flat_map(|(_, found)| self.first_places(found, hops - 1)).collect();
        if !named.is_empty() {
            return named;
        }
        let globs = known.globs.iter().flat_map(|found| self.first_places(found, hops - 1));
        let modules = globs.filter_map(|place| match place {
            Place::Inside { path, .. } if path != module => Some(path),
            _ => None,
        });
        modules.flat_map(|module| self.named(&module, name, hops - 1)).collect()
    }

    /// Follows an absolute path through re-exports; gathers every place on the way.
    fn follow(&self, place: Place, places: &mut BTreeSet<Place>, hops: usize) {
        if hops == 0 || !places.insert(place.clone()) {
            return;
        }
        let Place::Inside { path, is_glob } = place else { return };
        let mut module = Vec::new();
        for (at, name) in path.iter().enumerate() {
            let next: Names = module.iter().cloned().chain([name.clone()]).collect();
            if self.modules.contains_key(&next) {
                module = next;
                continue;
            }
            for place in self.named(&module, name, hops) {
                let place = place.push(&path[at + 1..], is_glob);
                if place != (Place::Inside { path: path.clone(), is_glob }) {
                    // Where it is from takes the place of where it passes: `crate::Session` is no room.
                    if at == 0 {
                        places.remove(&Place::Inside { path: path.clone(), is_glob });
                    }
                    self.follow(place, places, hops - 1);
                }
            }
            return;
        }
        if is_glob && let Some(known) = self.modules.get(&module) {
            let exported = known.public_imports.iter().chain(&known.public_globs);
            for place in exported.flat_map(|found| self.first_places(found, hops)) {
                self.follow(place, places, hops - 1);
            }
        }
    }
}

/// Gives the module that a file is: `src/plan/mod.rs` and `src/plan.rs` are `plan`.
fn module_of(file: &str) -> Names {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let mut parts: Names = path.split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|part| part == "mod") || matches!(path, "lib" | "main") {
        parts.pop();
    }
    parts
}

/// Walks a file, with the module it is in.
struct Reader<'a> {
    module: Names,
    modules: &'a mut BTreeMap<Names, Module>,
    source: Source,
}

impl Reader<'_> {
    fn enter(&mut self) -> &mut Module {
        self.modules.entry(self.module.clone()).or_default()
    }

    fn path(&self, parts: Names, is_outside: bool, is_glob: bool) -> Found {
        Found { module: self.module.clone(), parts, is_outside, is_glob }
    }

    /// Notes a path that is not an import. One part alone is a name that came in by an import, which is seen.
    fn note(&mut self, parts: Names, is_outside: bool) {
        if parts.len() > 1 {
            let found = self.path(parts, is_outside, false);
            self.source.found.push(found);
        }
    }

    fn note_import(&mut self, alias: Option<String>, found: Found, is_public: bool) {
        self.source.found.push(found.clone());
        let module = self.enter();
        match alias {
            Some(alias) => {
                if is_public {
                    module.public_imports.push(found.clone());
                }
                module.imports.push((alias, found));
            }
            None if is_public => {
                module.public_globs.push(found.clone());
                module.globs.push(found);
            }
            None => module.globs.push(found),
        }
    }

    fn note_use(&mut self, tree: &syn::UseTree, prefix: &[String], is_outside: bool, is_public: bool) {
        let with = |name: String| prefix.iter().cloned().chain([name]).collect::<Names>();
        let whole =
            |name: &str| if name == "self" && !prefix.is_empty() { prefix.to_vec() } else { with(name.to_owned()) };
        match tree {
            syn::UseTree::Path(path) => self.note_use(&path.tree, &with(text(&path.ident)), is_outside, is_public),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.note_use(tree, prefix, is_outside, is_public));
            }
            syn::UseTree::Name(name) => {
                let parts = whole(&text(&name.ident));
                let alias = parts.last().cloned();
                let found = self.path(parts, is_outside, false);
                self.note_import(alias, found, is_public);
            }
            syn::UseTree::Rename(rename) => {
                let found = self.path(whole(&text(&rename.ident)), is_outside, false);
                self.note_import(Some(text(&rename.rename)), found, is_public);
            }
            syn::UseTree::Glob(_) => {
                let found = self.path(prefix.to_vec(), is_outside, true);
                self.note_import(None, found, is_public);
            }
        }
    }

    /// Notes every path in tokens that nobody parses; `prefix` is what stands before the braces of a grouped import.
    fn note_tokens(&mut self, tokens: TokenStream, prefix: &[String]) {
        let mut parts: Names = prefix.to_vec();
        let mut colons = 0;
        let mut is_outside = false;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons < 2 && !parts.is_empty() && parts.as_slice() != prefix {
                        self.note(std::mem::take(&mut parts), is_outside);
                        parts = Vec::new();
                    }
                    if parts.is_empty() {
                        is_outside = colons == 2;
                    }
                    parts.push(text(&ident));
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    let is_import = colons == 2 && group.delimiter() == Delimiter::Brace;
                    let inner_prefix = if is_import { parts.clone() } else { Vec::new() };
                    self.note(std::mem::take(&mut parts), is_outside);
                    self.note_tokens(group.stream(), &inner_prefix);
                    colons = 0;
                }
                other => {
                    self.note(std::mem::replace(&mut parts, prefix.to_vec()), is_outside);
                    colons = 0;
                    if let TokenTree::Literal(literal) = other {
                        self.note_literal(&literal.to_string());
                    }
                }
            }
        }
        self.note(parts, is_outside);
    }

    /// Notes a path in a string, as serde takes it.
    fn note_literal(&mut self, literal: &str) {
        let path = literal.trim_matches('"');
        let is_path = path.contains("::") && path.chars().all(|one| one.is_alphanumeric() || matches!(one, '_' | ':'));
        if is_path {
            self.note(path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect(), false);
        }
    }
}

fn text(ident: &proc_macro2::Ident) -> String {
    ident.to_string().trim_start_matches("r#").to_owned()
}

fn is_public(visibility: &syn::Visibility) -> bool {
    !matches!(visibility, syn::Visibility::Inherited)
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let name = match item {
            syn::Item::Const(item) => Some(&item.ident),
            syn::Item::Enum(item) => Some(&item.ident),
            syn::Item::Fn(item) => Some(&item.sig.ident),
            syn::Item::Static(item) => Some(&item.ident),
            syn::Item::Struct(item) => Some(&item.ident),
            syn::Item::Trait(item) => Some(&item.ident),
            syn::Item::Union(item) => Some(&item.ident),
            _ => None,
        };
        if let Some(name) = name {
            self.enter().items.insert(text(name));
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        item.attrs.iter().for_each(|attribute| self.visit_attribute(attribute));
        if item.attrs.iter().any(|attribute| attribute.path().is_ident("path")) {
            self.source.evasions.insert("#[path]".into());
        }
        self.module.push(text(&item.ident));
        self.enter();
        item.content.iter().flat_map(|(_, items)| items).for_each(|item| self.visit_item(item));
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.note_use(&item.tree, &[], item.leading_colon.is_some(), is_public(&item.vis));
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        let alias = item.rename.as_ref().map_or_else(|| text(&item.ident), |(_, name)| text(name));
        let found = self.path(vec![text(&item.ident)], true, false);
        self.note_import(Some(alias), found, is_public(&item.vis));
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        if let syn::Type::Path(path) = &*item.ty {
            let found = self.path(parts(&path.path), path.path.leading_colon.is_some(), false);
            self.note_import(Some(text(&item.ident)), found, is_public(&item.vis));
        }
        visit::visit_item_type(self, item);
    }

    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.note(parts(path), path.leading_colon.is_some());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        if item.path.is_ident("include") {
            self.source.evasions.insert("include!".into());
        }
        self.visit_path(&item.path);
        self.note_tokens(item.tokens.clone(), &[]);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        // Documentation may name any room.
        if attribute.path().is_ident("doc") {
            return;
        }
        self.visit_path(attribute.path());
        match &attribute.meta {
            syn::Meta::List(list) => self.note_tokens(list.tokens.clone(), &[]),
            syn::Meta::NameValue(pair) => self.visit_expr(&pair.value),
            syn::Meta::Path(_) => (),
        }
    }
}

fn parts(path: &syn::Path) -> Names {
    path.segments.iter().map(|segment| text(&segment.ident)).collect()
}
