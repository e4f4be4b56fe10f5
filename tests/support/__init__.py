"""What tests share: servers, processes, handlers."""
