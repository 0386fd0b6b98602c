"""A pipeline whose batches hold a fixed number of samples, not of rays: empty space costs nothing."""

from dataclasses import dataclass, field

from nerfstudio.pipelines.dynamic_batch import DynamicBatchPipeline, DynamicBatchPipelineConfig


@dataclass
class SinrPipelineConfig(DynamicBatchPipelineConfig):
    """As nerfstudio's dynamic batches, with a bound on the number of rays."""

    _target: type = field(default_factory=lambda: SinrPipeline)
    max_rays: int = 8192
    """Rays in a batch at most."""


class SinrPipeline(DynamicBatchPipeline):
    """Grows and shrinks the batch slowly, and never beyond `max_rays`."""

    config: SinrPipelineConfig

    def _update_dynamic_num_rays_per_batch(self, num_samples_per_batch: int) -> None:
        rays = self.dynamic_num_rays_per_batch
        wanted = rays * self.config.target_num_samples / max(num_samples_per_batch, 1)
        bounded = min(max(wanted, 0.8 * rays), 1.25 * rays + 1, self.config.max_rays)
        self.dynamic_num_rays_per_batch = max(16, int(bounded))
