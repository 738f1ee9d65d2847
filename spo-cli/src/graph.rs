//! `spoc graph`: pictures of filters and of inheritance.

use std::{fmt::Write as _, process::ExitCode};

use layout::{backends::svg::SVGWriter, gv};
use spo_model::{
    object::{AnyObject, SeccompProfile, SelinuxProfile},
    seccomp::Arch,
};
use spo_node::compile::{Library, effective};
use spo_seccomp::{ArchExt as _, CompileOptions};
use spo_selinux_cil::Ancestors as _;

use crate::{Result, input, output};

/// Draw a profile: the filter's decision tree, or what it inherits.
///
/// A seccomp filter is drawn as the kernel walks it: boxes are tests, ellipses answers. The chain shows the profiles that
/// a profile builds on, with the number of rules of each.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  spoc graph profile.yaml -o filter.svg
  spoc graph --of chain profile.yaml --base deploy/base-profiles --output dot | dot -Tpng > chain.png")]
pub(crate) struct Args {
    /// The profile; `-` is standard input.
    profile: String,
    /// What to draw; the filter of a SeccompProfile, the chain of a SelinuxProfile if not given.
    #[arg(long, value_enum, value_name = "WHAT")]
    of: Option<Subject>,
    /// The language; SVG if the file's name ends so, else DOT, if not given.
    #[arg(long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
    /// The architecture of the filter; this machine's if not given.
    #[arg(long, value_name = "SCMP_ARCH_…")]
    arch: Option<Arch>,
    /// Files and folders with profiles that this one builds on.
    #[arg(short, long, value_name = "PROFILE")]
    base: Vec<String>,
    /// Where to write it; `-` is standard output.
    #[arg(short = 'o', long, default_value = "-", value_name = "FILE")]
    output_file: String,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Subject {
    /// The decision tree of the compiled seccomp filter.
    Filter,
    /// The profiles it builds on.
    Chain,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// The language of Graphviz.
    Dot,
    /// A picture for browsers.
    Svg,
}

pub(crate) fn run(args: &Args) -> Result {
    let (source, object) = input::one(&args.profile)?;
    let bases = input::sources(&args.base)?;
    let library = input::library(bases.iter().chain([&source]));
    let dot = match (&object, args.of) {
        (AnyObject::SeccompProfile(profile), None | Some(Subject::Filter)) => {
            filter(profile, &library, args.arch.unwrap_or_else(Arch::host), &source)?
        }
        (AnyObject::SeccompProfile(profile), Some(Subject::Chain)) => bases_of(profile, &library, &source)?,
        (AnyObject::SelinuxProfile(profile), None | Some(Subject::Chain)) => ancestors_of(profile, &library)?,
        (other, _) => {
            let help = "a SeccompProfile has a filter and a chain, a SelinuxProfile a chain";
            return Err(format!("{}: nothing to draw of a {}; {help}", source.name, other.kind()).into());
        }
    };
    let svg = args.output.map_or(args.output_file.ends_with(".svg"), |format| format == Format::Svg);
    output::write(&args.output_file, &if svg { to_svg(&dot)? } else { dot }, 0o644)?;
    Ok(ExitCode::SUCCESS)
}

fn filter(profile: &SeccompProfile, library: &Library, arch: Arch, source: &input::Source) -> Result<String> {
    let found = effective(profile, library).map_err(|problems| input::shown(source, &problems))?;
    let program = spo_seccomp::compile(&found.effective.policy, &[arch], &CompileOptions::default())?;
    Ok(spo_seccomp::text::dot(&program))
}

fn bases_of(profile: &SeccompProfile, library: &Library, source: &input::Source) -> Result<String> {
    let found = effective(profile, library).map_err(|problems| input::shown(source, &problems))?;
    let labels = found.profiles.iter().enumerate().map(|(index, name)| {
        let from = |origins: &&Vec<spo_seccomp::Origin>| origins.iter().any(|origin| origin.profile == index);
        let rules = found.effective.origins.iter().filter(from).count();
        format!("{name}: {rules} of {} rules", found.effective.origins.len())
    });
    Ok(chain(labels))
}

/// A straight line of profiles, each built on the next.
fn chain(labels: impl Iterator<Item = String>) -> String {
    let mut out = START.to_owned();
    for (index, label) in labels.enumerate() {
        node(&mut out, index, &label);
        if index > 0 {
            edge(&mut out, index - 1, index);
        }
    }
    out + "}\n"
}

const START: &str = "digraph chain {\n  node [shape=box, fontname=monospace];\n";

fn node(out: &mut String, index: usize, label: &str) {
    let _ = writeln!(out, "  n{index} [label=\"{}\"];", label.replace('\\', "\\\\").replace('"', "\\\""));
}

fn edge(out: &mut String, from: usize, to: usize) {
    let _ = writeln!(out, "  n{from} -> n{to} [label=\"inherits\"];");
}

/// The profiles and templates that a SelinuxProfile inherits, each drawn once.
fn ancestors_of(profile: &SelinuxProfile, library: &Library) -> Result<String> {
    let ancestors = library.ancestors(profile.metadata.namespace.as_ref());
    let name = profile.metadata.name.as_ref().map_or("", |n| n.as_str()).to_owned();
    let mut names = vec![name];
    let mut waiting = vec![(0, profile.spec.clone())];
    let mut out = START.to_owned();
    let mut edges = String::new();
    let rules = |spec: &spo_model::selinux::SelinuxProfileSpec| {
        spec.allow.iter().flatten().map(|(_, classes)| classes.len()).sum::<usize>()
    };
    node(&mut out, 0, &format!("{}: {} rules", names[0], rules(&profile.spec)));
    while let Some((from, spec)) = waiting.pop() {
        for inherited in spec.inherit.iter().flatten() {
            let to = names.iter().position(|name| *name == inherited.name.as_str());
            let index = to.unwrap_or(names.len());
            edge(&mut edges, from, index);
            if to.is_some() {
                continue;
            }
            names.push(inherited.name.to_string());
            match ancestors.get(inherited.name.as_str()) {
                Some(parent) => {
                    node(&mut out, index, &format!("{}: {} rules", inherited.name, rules(&parent)));
                    waiting.push((index, parent));
                }
                None => node(&mut out, index, &format!("{}: a template", inherited.name)),
            }
        }
    }
    Ok(out + &edges + "}\n")
}

/// The most nodes that are laid out here; the time grows faster than their number.
const MOST_NODES: usize = 1000;

/// Lays a graph out and draws it.
fn to_svg(dot: &str) -> Result<String> {
    let nodes = dot.lines().filter(|line| !line.contains(" -> ")).count();
    if nodes > MOST_NODES {
        let help = "print it with --output dot and lay it out with Graphviz";
        return Err(
            format!("the graph has about {nodes} nodes, at most {MOST_NODES} are drawn; {help}").into()
        );
    }
    let graph = gv::DotParser::new(dot).process()?;
    let mut builder = gv::GraphBuilder::new();
    builder.visit_graph(&graph);
    let mut graph = builder.get();
    let mut svg = SVGWriter::new();
    graph.do_it(false, false, false, &mut svg);
    Ok(svg.finalize())
}
