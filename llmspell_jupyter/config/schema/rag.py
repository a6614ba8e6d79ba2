"""``[rag]``: retrieval. 35 keys of the schema upstream, and 23 that only its profiles name."""

from __future__ import annotations

from typing import Literal

from llmspell_jupyter.config.schema._fields import Section, flag, place, text, whole

_DAY = 86_400
_MANY = 10**9


class HnswSettings(Section):
    """Table ``[rag.vector_storage.hnsw]``."""

    m: int = whole(16, 2, 100, "Links of each vector.")
    ef_construction: int = whole(200, 2, 100_000, "Candidates when a vector is added; at least m.")
    ef_search: int = whole(50, 1, 100_000, "Candidates when vectors are searched.")
    max_elements: int = whole(1_000_000, 1, _MANY, "Vectors that the index can hold.")
    seed: int | None = whole(None, 0, 2**63 - 1, "Seed of the index; None draws one.")
    metric: Literal["cosine", "euclidean", "innerproduct"] = text("cosine", "What near means.")
    allow_replace_deleted: bool = flag(True, "New vectors take the place of deleted ones.")
    num_threads: int | None = whole(None, 1, 1024, "Threads; None is one for each usable core.")
    nb_layers: int | None = whole(None, 1, 64, "Layers; None follows from max_elements.")
    parallel_batch_size: int | None = whole(128, 1, 1_000_000, "Vectors that are added at a time.")
    enable_mmap: bool = flag(False, "The index is mapped from its file.")
    mmap_sync_interval: int | None = whole(
        60, 1, _DAY, "Time between two writes of a mapped index.", unit="seconds"
    )


class VectorStorageSettings(Section):
    """Table ``[rag.vector_storage]``."""

    # Upstream refuses 0; here it frees a profile from naming a figure of its embedding model.
    dimensions: int = whole(384, 0, 65_536, "Length of a vector; 0 is that of the embedding model.")
    backend: Literal["hnsw"] = text("hnsw", "Kind of index.")
    persistence_path: str | None = place(None, "Folder of the index; None keeps it in memory.")
    max_memory_mb: int | None = whole(500, 1, 2**24, "Memory that the index may take.", unit="MB")
    hnsw: HnswSettings = HnswSettings()


class EmbeddingSettings(Section):
    """Table ``[rag.embedding]``."""

    default_provider: str = text("openai", "Provider that embeds.")
    cache_enabled: bool = flag(True, "Embeddings of equal texts are computed once.")
    cache_size: int = whole(10_000, 0, _MANY, "Embeddings that are kept.")
    cache_ttl_seconds: int = whole(3600, 0, 366 * _DAY, "For how long.", unit="seconds")
    batch_size: int = whole(32, 1, 65_536, "Texts that are embedded at a time.")
    timeout_seconds: int = whole(30, 1, _DAY, "Longest time for a batch.", unit="seconds")
    max_retries: int = whole(3, 0, 100, "How often a failed batch is tried again.")


class ChunkingSettings(Section):
    """Table ``[rag.chunking]``."""

    strategy: Literal["sliding_window", "semantic", "sentence"] = text(
        "sliding_window", "Where documents are cut."
    )
    chunk_size: int = whole(512, 1, 1_000_000, "Length of a chunk.", unit="tokens")
    overlap: int = whole(
        64, 0, 1_000_000, "What neighbours share; less than chunk_size.", unit="tokens"
    )
    max_chunk_size: int = whole(2048, 1, 1_000_000, "Longest chunk.", unit="tokens")
    min_chunk_size: int = whole(100, 0, 1_000_000, "Shortest chunk.", unit="tokens")


class CacheSettings(Section):
    """Table ``[rag.cache]``."""

    search_cache_enabled: bool = flag(True, "Results of equal searches are kept.")
    search_cache_size: int = whole(1000, 0, _MANY, "Results that are kept.")
    search_cache_ttl_seconds: int = whole(300, 0, 366 * _DAY, "For how long.", unit="seconds")
    document_cache_enabled: bool = flag(True, "Documents are kept in memory.")
    document_cache_size_mb: int = whole(100, 0, 2**24, "Memory for them.", unit="MB")


class RagDebugSettings(Section):
    """Table ``[rag.debug]``."""

    enable_debug_logging: bool = flag(False, "Each step of a retrieval is logged.")
    log_all_operations: bool = flag(False, "Each access to the index is logged.")
    save_debug_dumps: bool = flag(False, "What was retrieved is written to files.")
    debug_dump_path: str | None = place(None, "Folder of these files.")


class PerformanceSettings(Section):
    """Table ``[rag.performance]``."""

    enable_metrics: bool = flag(False, "Times are measured.")
    metrics_interval_seconds: int = whole(
        60, 1, _DAY, "Time between two reports of them.", unit="seconds"
    )
    log_slow_operations: bool = flag(False, "Slow operations are logged.")
    slow_operation_threshold_ms: int = whole(
        100, 1, _DAY * 1000, "Time from which an operation is slow.", unit="ms"
    )


class MonitoringSettings(Section):
    """Table ``[rag.monitoring]``."""

    enable_metrics: bool = flag(False, "Counts and times are exported.")
    metrics_export_interval: int = whole(60, 1, _DAY, "Time between two exports.", unit="seconds")
    enable_health_checks: bool = flag(False, "The index is looked at regularly.")
    alert_on_errors: bool = flag(False, "Many errors raise an alarm.")
    error_threshold_per_minute: int = whole(10, 1, 1_000_000, "Errors in a minute that are many.")


class RagSecuritySettings(Section):
    """Table ``[rag.security]``."""

    enable_audit_logging: bool = flag(False, "Who stored and retrieved what is recorded.")
    audit_log_path: str | None = place(None, "File of these records.")
    enable_rate_limiting: bool = flag(False, "Searches of a user are counted.")
    rate_limit_per_user: int = whole(
        100, 1, 1_000_000, "Searches of one user in a minute.", unit="searches"
    )
    enable_input_validation: bool = flag(False, "Texts are checked before they are stored.")
    max_input_size_kb: int = whole(100, 1, 2**30, "Longest text that passes.", unit="kB")


class RagBackupSettings(Section):
    """Table ``[rag.backup]``."""

    enable_auto_backup: bool = flag(False, "The index is backed up.")
    backup_interval_hours: int = whole(24, 1, 8784, "Time between two backups.", unit="hours")
    backup_retention_days: int = whole(
        30, 1, 36_600, "Age at which a backup is deleted.", unit="days"
    )
    backup_path: str | None = place(None, "Folder of the backups.")


class RagSettings(Section):
    """Table ``[rag]``."""

    enabled: bool = flag(False, "Scripts may store and retrieve texts.")
    multi_tenant: bool = flag(False, "Each tenant sees its own texts only.")
    vector_storage: VectorStorageSettings = VectorStorageSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    chunking: ChunkingSettings = ChunkingSettings()
    cache: CacheSettings = CacheSettings()
    debug: RagDebugSettings = RagDebugSettings()
    performance: PerformanceSettings = PerformanceSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    security: RagSecuritySettings = RagSecuritySettings()
    backup: RagBackupSettings = RagBackupSettings()
