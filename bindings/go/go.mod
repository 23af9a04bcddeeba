module llmgpu

go 1.18
