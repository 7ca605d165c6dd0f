"""HTML pages of a run, an evaluation, a bench, a training, a gallery and a verification: templates, style sheet, charts."""
