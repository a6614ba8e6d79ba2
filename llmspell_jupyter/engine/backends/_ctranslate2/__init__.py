"""T5 in the form that CTranslate2 computes with: made from safetensors, kept beside the model."""
