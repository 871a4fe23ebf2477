use super::*;

#[test]
fn sections_become_headings_and_tagged_paragraphs() {
    let mut roff = Roff::new();
    sections(&mut roff, "Exit status:\n  0    done\n\nServer:\n  the first of --endpoint and 'x'\n");
    let shown = roff.render();
    let expected =
        ".SH \"EXIT STATUS\"\n.TP\n\\fB0\\fR\ndone\n.SH SERVER\n.PP\nthe first of \\-\\-endpoint and \\*(Aqx\\*(Aq\n";
    assert!(shown.ends_with(expected), "{shown}");
}
