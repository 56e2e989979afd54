"""What every page of the admin has in common: only visible rows, saves through services, one audit trail."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.forms import BaseModelFormSet, ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from unfold.admin import ModelAdmin, TabularInline
from unfold.contrib.filters.admin import RelatedDropdownFilter
from unfold.views import ChangeList

from governance.admin.forms import LIST_FIELDS
from governance.services.reach import OutOfReach
from governance.services.records import Vanished, delete_with_audit, save_with_audit


def visible(queryset: Any, user: Any) -> Any:
    """The rows of a queryset that a user may see; models that belong to no customer are all shown."""
    return queryset.visible_to(user) if hasattr(queryset, "visible_to") else queryset


class VisibleChoices:
    """Form fields of an admin or inline offer only rows that the user may see."""

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs.setdefault("queryset", visible_rows(self.admin_site, db_field.remote_field.model, request))  # type: ignore[attr-defined]
        return super().formfield_for_foreignkey(db_field, request, **kwargs)  # type: ignore[misc]

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in LIST_FIELDS and isinstance(db_field, models.JSONField):
            field, help_text = LIST_FIELDS[db_field.name]
            return field(label=db_field.verbose_name.capitalize(), required=False, help_text=help_text)
        return super().formfield_for_dbfield(db_field, request, **kwargs)  # type: ignore[misc]


def visible_rows(site: Any, model: type[models.Model], request: HttpRequest) -> Any:
    """Rows of a model that the user may choose: what its own admin page lists, or else all that `visible_to` allows."""
    registered = site._registry.get(model)
    if isinstance(registered, VisibleAdmin):
        return registered.get_queryset(request)
    return visible(model._default_manager.all(), request.user)


class PageChangeList(ChangeList):
    """A list that lets its admin look up, at once, what the rows of the page show beside their columns."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        page: Any = self.result_list  # type: ignore[has-type]
        self.result_list = self.model_admin.load_page(request, list(page))


class VisibleRelatedFilter(RelatedDropdownFilter):
    """A filter by a related row that names only rows the user may see."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:
        rows = visible_rows(model_admin.admin_site, field.remote_field.model, request)
        return [(row.pk, str(row)) for row in rows[:500]]


class VisibleAdmin(VisibleChoices, ModelAdmin):
    """A page whose rows are limited to what the user may see and whose writes are audited."""

    list_per_page = 50
    show_full_result_count = False
    list_filter_sheet = True
    warn_unsaved_form = True
    created_action = ""
    changed_action = ""

    def get_queryset(self, request: HttpRequest) -> Any:
        return visible(super().get_queryset(request), request.user)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return PageChangeList

    def load_page(self, request: HttpRequest, rows: list[Any]) -> list[Any]:
        """Put onto the rows of one page what their cells need; may reorder them."""
        return rows

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except ValidationError as error:
            # Passed the form, failed under the lock: somebody else was faster.
            return self._refused(request, "; ".join(error.messages))
        except (OutOfReach, Vanished) as error:
            return self._refused(request, str(error))

    def save_model(self, request: HttpRequest, obj: Any, form: ModelForm[Any], change: bool) -> None:
        save_with_audit(
            instance=obj,
            actor=request.user,
            action=self.changed_action if change else self.created_action,
            fields=form.changed_data if change else None,
        )
        self.require_visible(request, obj)

    def require_visible(self, request: HttpRequest, obj: Any) -> None:
        """Raise ValidationError where a user would write a row outside of what they may see; the write is undone."""
        if not self.get_queryset(request).filter(pk=obj.pk).exists():
            raise ValidationError("This belongs to more than you may see. Choose a team of yours.")

    def save_formset(self, request: HttpRequest, form: Any, formset: BaseModelFormSet[Any, Any], change: bool) -> None:
        with transaction.atomic():
            rows = formset.save(commit=False)
            for row in formset.deleted_objects:
                delete_with_audit(instance=row, actor=request.user)
            changed = {id(row): fields for row, fields in formset.changed_objects}
            for row in rows:
                save_with_audit(instance=row, actor=request.user, fields=changed.get(id(row)))
            formset.save_m2m()

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        delete_with_audit(instance=obj, actor=request.user)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        with transaction.atomic():
            for row in queryset:
                delete_with_audit(instance=row, actor=request.user)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Nothing: the audit trail has it. Django's own log can be edited."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Nothing: the audit trail has it."""

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Nothing: the audit trail has it."""

    def _refused(self, request: HttpRequest, message: str) -> HttpResponse:
        self.message_user(request, message, messages.ERROR)
        return HttpResponseRedirect(request.path)


class VisibleInline(VisibleChoices, TabularInline):
    """Rows inside another row's page, limited in the same way."""

    extra = 0

    def get_queryset(self, request: HttpRequest) -> Any:
        return visible(super().get_queryset(request), request.user)


class ReadOnlyAdmin(VisibleAdmin):
    """A page that shows and never writes."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
