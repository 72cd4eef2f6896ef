"""Shows at the fields of a form what a service refused."""

from django import forms

from portal.errors import InputInvalidError


def problems_show(form: forms.Form, error: InputInvalidError) -> None:
    """Add every problem to the form, at its field where there is one.

    A form that reads one document says with `document_field` where the rest of it belongs.
    """
    document = getattr(form, "document_field", None)
    for problem in error.problems:
        name = problem.path.split(".")[0].split("[")[0]
        if name in form.fields:
            rest = problem.path[len(name) :].strip(".[]")
            form.add_error(name, f"{rest}: {problem.message}" if rest else problem.message)
        else:
            form.add_error(document, f"{problem.path}: {problem.message}")
