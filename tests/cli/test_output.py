"""Names that others chose are text in a terminal, whatever they hold."""

import pytest
from rich.table import Table
from rich.text import Text

from jetseg.cli.bars import Bars, console, show_work
from jetseg.cli.output import plain, print_json, print_lines, print_table, right
from jetseg.progress import task

NAMES = ["[/pole]", "[bold]road[/bold]", ":smile:", "sky[", "[link=http://x]sky[/link]"]
COMMANDS = ["\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\r", "\x00", "\x7f", "\u202e", "\u2028", "\udc80"]


@pytest.mark.parametrize("name", NAMES)
def test_markup_in_a_name_is_printed_as_it_is(name, capsys):
    table = Table(name, right(name), title=name)
    table.add_row(name, Text(name), style="bold")
    print_table(table)
    print_lines(f"IoU %: {name} 3", style="bold")
    with show_work(Bars()), task(name, 1) as work:
        work.update(advance=1, note=name)
    captured = capsys.readouterr()
    assert captured.out.count(name) == 6
    assert name in captured.err


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_terminal_acts_on_is_spelled_out(command, capsys):
    name = f"pole{command}s"
    table = Table("class", title=name)
    table.add_row(name)
    table.add_row(Text(name))
    print_table(table)
    print_lines(name)
    print_lines(name, console=console)
    print_json({"name": name})
    captured = capsys.readouterr()
    assert command not in captured.out + captured.err
    assert plain(name).isprintable()
