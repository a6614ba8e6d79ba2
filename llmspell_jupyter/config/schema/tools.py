"""``[tools]``: what agents and scripts may do besides asking models."""

from __future__ import annotations

from typing import Literal

from llmspell_jupyter.config.schema._fields import (
    Section,
    flag,
    secret,
    table,
    text,
    whole,
    words,
)
from llmspell_jupyter.config.schema._secrets import SecretText

SearchEngine = Literal["duckduckgo", "google", "bing", "brave", "tavily", "serpapi", "serper"]

_DAY = 86_400
_HUGE = 2**40


class FileToolSettings(Section):
    """Table ``[tools.file_operations]``."""

    enabled: bool = flag(True, "The file tools are there.")
    allowed_paths: tuple[str, ...] = words(("/tmp",), "Folders that they may enter.")
    max_file_size: int = whole(50_000_000, 1, _HUGE, "Largest file.", unit="bytes")
    atomic_writes: bool = flag(True, "A file is replaced as a whole or not at all.")
    max_depth: int = whole(10, 1, 1000, "Folders that are entered one inside another.")
    allowed_extensions: tuple[str, ...] = words((), "Endings of files; empty is all.")
    blocked_extensions: tuple[str, ...] = words(
        ("exe", "dll", "so", "dylib"), "Endings of files that are refused."
    )
    validate_file_types: bool = flag(True, "A file must be what its ending says.")


class WebSearchSettings(Section):
    """Table ``[tools.web_search]``."""

    rate_limit_per_minute: int = whole(30, 1, 1_000_000, "Searches in a minute.")
    allowed_domains: tuple[str, ...] = words(("*",), "Domains of results.")
    blocked_domains: tuple[str, ...] = words((), "Domains that are left out.")
    max_results: int = whole(10, 0, 1000, "Results of a search.")
    timeout_seconds: int = whole(30, 1, _DAY, "Longest time for a search.", unit="seconds")
    user_agent: str | None = text(None, "Name under which it asks.")


class HttpToolSettings(Section):
    """Table ``[tools.http_request]``."""

    allowed_hosts: tuple[str, ...] = words(("*",), "Hosts that may be asked.")
    blocked_hosts: tuple[str, ...] = words(
        ("localhost", "127.0.0.1", "0.0.0.0"), "Hosts that may not."
    )
    max_request_size: int = whole(10_000_000, 1, _HUGE, "Largest request.", unit="bytes")
    timeout_seconds: int = whole(30, 1, _DAY, "Longest time for a request.", unit="seconds")
    max_redirects: int = whole(5, 0, 100, "Redirections that are followed.")
    default_headers: dict[str, str] = table("Headers of every request.")


class NetworkSettings(Section):
    """Table ``[tools.network]``."""

    timeout_seconds: int = whole(30, 1, _DAY, "Longest time for a connection.", unit="seconds")
    max_retries: int = whole(3, 0, 100, "How often a failed connection is tried again.")
    verify_ssl: bool = flag(True, "Certificates are checked.")


class WebToolSettings(Section):
    """Table ``[tools.web_tools]``."""

    user_agent: str = text("llmspell-web/1.0", "Name under which pages are asked for.")
    allowed_domains: tuple[str, ...] = words(("*",), "Domains that may be visited.")
    blocked_domains: tuple[str, ...] = words((), "Domains that may not.")
    max_redirects: int = whole(5, 0, 100, "Redirections that are followed.")
    scraping_delay_ms: int = whole(1000, 0, _DAY * 1000, "Wait between two pages.", unit="ms")


class MediaSettings(Section):
    """Table ``[tools.media]``."""

    max_file_size: int = whole(524_288_000, 1, _HUGE, "Largest file.", unit="bytes")
    processing_timeout_seconds: int = whole(
        300, 1, _DAY, "Longest time for a file.", unit="seconds"
    )
    image_max_dimensions: str = text("4096x4096", "Largest image, width x height in pixels.")


class DatabaseSettings(Section):
    """Table ``[tools.database]``."""

    connection_timeout_seconds: int = whole(
        10, 1, _DAY, "Longest time for a connection.", unit="seconds"
    )
    max_connections: int = whole(10, 1, 10_000, "Connections at a time.")
    allowed_hosts: tuple[str, ...] = words(("localhost", "127.0.0.1"), "Hosts that may be asked.")


class EmailSettings(Section):
    """Table ``[tools.email]``."""

    smtp_host: str | None = text(None, "Server that sends.")
    smtp_port: int = whole(587, 1, 65_535, "Its port.")
    from_address: str | None = text(None, "Sender.")
    rate_limit_per_minute: int = whole(2, 1, 1_000_000, "Letters in a minute.")


class SystemSettings(Section):
    """Table ``[tools.system]``."""

    allow_process_execution: bool = flag(False, "Programs may be started.")
    allowed_commands: tuple[str, ...] = words(("ls", "cat", "echo", "pwd"), "Which.")
    max_output_size: int = whole(1_048_576, 1, _HUGE, "Output that is kept.", unit="bytes")


class DataSettings(Section):
    """Table ``[tools.data]``."""

    max_csv_size: int = whole(104_857_600, 1, _HUGE, "Largest CSV file.", unit="bytes")
    max_json_depth: int = whole(100, 1, 10_000, "Deepest JSON.")


class AcademicSettings(Section):
    """Table ``[tools.academic]``."""

    citation_api_key: SecretText | None = secret("Key of the citation service.")
    pubmed_api_key: SecretText | None = secret("Key of PubMed.")
    core_api_key: SecretText | None = secret("Key of CORE.")
    max_references: int = whole(1000, 1, 1_000_000, "References of one text.")


class DocumentSettings(Section):
    """Table ``[tools.document]``."""

    max_pdf_size: int = whole(52_428_800, 1, _HUGE, "Largest PDF file.", unit="bytes")
    extract_images: bool = flag(False, "Images are taken out, too.")


class SearchSettings(Section):
    """Table ``[tools.search]``."""

    default_engine: SearchEngine = text("duckduckgo", "Search engine that is asked.")
    max_results: int = whole(10, 0, 1000, "Results of a search.")
    api_key: SecretText | None = secret("Key of the search engine.")
    brave_api_key: SecretText | None = secret("Key of Brave.")
    tavily_api_key: SecretText | None = secret("Key of Tavily.")
    serpapi_api_key: SecretText | None = secret("Key of SerpApi.")
    serper_api_key: SecretText | None = secret("Key of Serper.")


class KeyedSettings(Section):
    """Tables ``[tools.weather]``, ``[tools.github]`` and ``[tools.news]``."""

    api_key: SecretText | None = secret("Key of the service.")


class ToolSettings(Section):
    """Table ``[tools]``."""

    enabled: bool | None = flag(None, "Tools are there; None is yes.")
    rate_limit_per_minute: int | None = whole(None, 1, 1_000_000, "Calls of one tool in a minute.")
    file_operations: FileToolSettings = FileToolSettings()
    web_search: WebSearchSettings = WebSearchSettings()
    http_request: HttpToolSettings = HttpToolSettings()
    network: NetworkSettings = NetworkSettings()
    web_tools: WebToolSettings = WebToolSettings()
    media: MediaSettings = MediaSettings()
    database: DatabaseSettings = DatabaseSettings()
    email: EmailSettings = EmailSettings()
    system: SystemSettings = SystemSettings()
    data: DataSettings = DataSettings()
    academic: AcademicSettings = AcademicSettings()
    document: DocumentSettings = DocumentSettings()
    search: SearchSettings = SearchSettings()
    weather: KeyedSettings = KeyedSettings()
    github: KeyedSettings = KeyedSettings()
    news: KeyedSettings = KeyedSettings()
    custom: dict[str, str | int | float | bool] = table("Values for tools of your own.")
