"""The `crossmargin` command: one line per subcommand, each in the module that knows its work."""

from __future__ import annotations

import importlib
import logging
import sys
from dataclasses import fields
from typing import Any

import click

from streams.settings import Settings, SettingsError, described, load

#: Subcommand -> module and attribute; imported on use, so that `--help` and small commands start at once.
COMMANDS = {
    "backtest": ("streams.backtest.command", "backtest_command"),
    "bench": ("streams.bench.command", "bench_command"),
    "broker": ("streams.kafka.broker", "broker_command"),
    "demo": ("streams.demo.run", "demo_command"),
    "evaluate": ("streams.evaluate.command", "evaluate_command"),
    "explain": ("streams.replay.explain_command", "explain_command"),
    "export": ("streams.replay.export_command", "export_command"),
    "import": ("streams.replay.import_command", "import_command"),
    "replay": ("streams.replay.command", "replay_command"),
    "risk-history": ("streams.risk_history", "risk_history_command"),
    "schemas": ("streams.schemas_command", "schemas_command"),
    "stress": ("streams.replay.stress.command", "stress_command"),
    "tail": ("streams.tail", "tail_command"),
    "what-if": ("streams.replay.whatif.command", "whatif_command"),
}

_HELP = {
    "backtest": "Walk margin models through past prices, and say whether they were enough.",
    "bench": "Measure a worker on this machine: rates, latency, cores, memory.",
    "broker": "Run a local Apache Kafka (single node, no Docker).",
    "demo": "Play a market through a real Kafka and the engine.",
    "evaluate": "Print the margin report of a portfolio document.",
    "explain": "Say what was behind a margin call or liquidation.",
    "export": "Write topics to Parquet files.",
    "import": "Write exported topics into a cluster.",
    "replay": "Fold recorded journals again, and verify what was sent.",
    "risk-history": "Print past prices as records that a market's history begins with.",
    "schemas": "Print or write the contract: JSON Schema and AsyncAPI.",
    "stress": "Let prices fall on accounts as they stand, and say what is lost.",
    "tail": "Print a topic readably.",
    "what-if": "Fold a recorded journal under other parameters, beside what happened.",
    "worker": "Run a worker: ingest, oracle and margin agents.",
}


class Lazy(click.Group):
    """A group whose commands are imported when they are named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *COMMANDS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, attribute = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _HELP.get(name, "")) for name in self.list_commands(ctx)])


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="crossmargin")
def main() -> None:
    """A cross-margin engine as a Kafka stream processor: prices and fills in, margin calls and liquidations out."""


def _setting_options(command: Any) -> Any:
    meanings, defaults = described(), Settings()
    for setting in reversed(fields(Settings)):
        default = getattr(defaults, setting.name)
        shown = ",".join(default) if isinstance(default, tuple) else str(default or "")
        help = f"{meanings[setting.name]} [default: {shown}]" if shown else meanings[setting.name]
        command = click.option("--" + setting.name.replace("_", "-"), setting.name, metavar="VALUE", help=help)(command)
    return command


@main.command()
@_setting_options
def worker(**flags: str | None) -> None:
    """Run a worker until it is told to stop (SIGTERM, Ctrl-C).

    Every flag can be given as the environment variable CROSSMARGIN_<NAME> instead. What each setting means is in
    docs/settings.md. Exit code 3: the worker stopped itself because it must not go on (a supervisor starts it again).
    """
    try:
        settings = load(flags)
    except SettingsError as error:
        click.echo(f"crossmargin worker: {error}", err=True)
        sys.exit(2)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    from streams.app import run_worker

    run_worker(settings)


if __name__ == "__main__":
    main()
